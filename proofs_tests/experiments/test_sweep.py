"""Sweeps: their runs, their worker processes, and that no kill loses or repeats a run."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import main
from experiments.commandline import bar
from experiments.config import restore
from experiments.resolve import resolve
from experiments.runs import files
from experiments.runs.progress import Silent
from experiments.runs.run import run
from experiments.sweeps import sweep as sweeps
from experiments.sweeps.cost import Clock, guess
from experiments.sweeps.grid import grid, shard
from experiments.sweeps.plan import plan
from experiments.sweeps.sweep import state
from experiments.sweeps.workers import Outcome, attempt
from proofs_tests.tools import ROOT
from proofs_tests.tools.runs import repeatable
from proofs_tests.tools.sweeps import axes, result
from prune import load_masks

FIVE = ["random", "magnitude", "snip", "grasp", "synflow"]


def sweep(*arguments: object):
    """Call the command in this process; its workers are other processes."""
    return CliRunner().invoke(main, ["sweep", *map(str, arguments)])


def test_the_grid_is_every_combination_and_the_dense_network_once_for_all_pruners():
    configs = grid(axes(pruner=FIVE, compression=[1.0, 10.0, 100.0], seed=[0, 1, 2]), {})
    dense = [config for config in configs if config.compression == 1]
    assert len(configs) == 3 * (1 + 2 * 5)
    assert [config.seed for config in dense] == [0, 1, 2]
    assert len({config.directory for config in configs}) == len(configs)


def test_the_dense_network_of_a_sweep_is_that_of_a_run(tmp_path):
    """1 and 1.0 are one compression, so the run has one folder."""
    [config] = grid(axes(compression=[1.0]), {"results": str(tmp_path)})
    given = {"compression": 1.0, "pruner": "magnitude", "results": str(tmp_path)}
    assert config.directory == resolve(given).directory


def test_an_option_applies_where_it_means_something_and_is_refused_where_it_never_does():
    configs = grid(axes(pruner=FIVE), {"schedule": "linear"})
    assert {c.pruner for c in configs if c.schedule == "linear"} == {"synflow"}
    with pytest.raises(ValueError, match="--schedule linear does nothing"):
        grid(axes(pruner=["random", "snip"]), {"schedule": "linear"})
    with pytest.raises(ValueError, match="--steps 7 does nothing"):
        grid(axes(compression=[1.0]), {"steps": 7})
    configs = grid(axes(pruner=FIVE, model=["resnet20"]), {"bn": "batch"})
    assert {c.pruner for c in configs if c.bn == "batch"} == {"snip", "grasp"}
    with pytest.raises(ValueError, match="--bn batch does nothing in this sweep"):
        grid(axes(pruner=["synflow"]), {"bn": "batch"})


def test_ablations_are_an_axis_and_the_dense_network_has_none():
    configs = grid(axes(compression=[1.0, 10.0], ablate=[None, "shuffle", "invert"]), {})
    assert [config.ablate for config in configs] == [None, None, "shuffle", "invert"]


def test_allocations_are_an_axis_and_the_dense_network_has_none():
    configs = grid(axes(compression=[1.0, 10.0], allocation=[None, "erk"]), {})
    assert [config.allocation for config in configs] == [None, None, "erk"]
    with pytest.raises(ValueError, match="--allocations does nothing in this sweep: all weights"):
        grid(axes(compression=[1.0], allocation=["erk"]), {})


def test_a_pruner_may_have_steps_of_its_own():
    """Each is a run of its own; the dense network is one for all."""
    pruners = ["snip", "snip@100", "snip@1", "synflow@10", "synflow"]
    configs = grid(axes(compression=[1.0, 10.0], pruner=pruners), {"schedule": "linear"})
    assert [(c.pruner, c.steps, c.schedule) for c in configs[1:]] == [
        ("snip", 1, "exponential"),
        ("snip", 100, "linear"),
        ("synflow", 10, "linear"),
        ("synflow", 100, "linear"),
    ]
    assert configs[2] == resolve({"pruner": "snip", "steps": 100, "schedule": "linear"})


def test_cycles_are_an_axis_of_imp_which_shares_the_dense_network(tmp_path):
    chosen = {"epochs": 1, "width": 0.1, "results": str(tmp_path)}
    configs = grid(axes(compression=[1.0, 10.0], cycles=[1, 2], pruner=FIVE), chosen)
    assert [(c.pruner, c.cycles) for c in configs] == [("magnitude", n) for n in (0, 1, 2)]
    assert configs[0] == grid(axes(compression=[1.0]), chosen)[0]
    assert attempt(configs[2]).state == "finished"
    assert len(files.read_result(configs[2].directory / files.RESULT)["cycles"]) == 2


@pytest.mark.parametrize(
    "more, given, words",
    [
        ({}, {"scope": "local"}, "--scope means nothing with --cycles"),
        ({}, {"score_dtype": "float32"}, "--score-dtype means nothing with --cycles"),
        ({"ablate": ["shuffle"]}, {}, "--ablates means nothing with --cycles"),
        ({"allocation": ["erk"]}, {}, "--allocations means nothing with --cycles"),
        ({"cycles": [0]}, {"rewind": False}, "--rewind does nothing without --cycles"),
    ],
)
def test_options_without_a_meaning_for_imp_are_refused_in_a_sweep_of_cycles(more, given, words):
    with pytest.raises(ValueError, match=words):
        grid(axes(**{"cycles": [2]} | more), given)


@given(st.integers(1, 40), st.integers(1, 12))
def test_the_shards_are_the_whole_sweep_in_parts_of_equal_size(n, parts):
    parts_of = [shard(range(n), part, parts) for part in range(1, parts + 1)]
    assert sorted(chain.from_iterable(parts_of)) == list(range(n))
    assert max(map(len, parts_of)) - min(map(len, parts_of)) <= 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--shard", "3/2"], "--shard 3/2"),
        (["--shard", "half"], "--shard must be like"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--compressions", "1,ten"], "not a list"),
        (["--compressions", "0.5"], "--compression must be at least 1"),
        (["--pruners", "synflow,flow"], "--pruner must be one of"),
        (["--pruners", "snip@", "--compressions", 1], "must be like snip or snip@100, not snip@"),
        (["--pruners", "snip@ten"], "--pruners must be like snip or snip@100, not snip@ten"),
        (["--pruners", "snip@0"], "--steps must be at least 1, not 0"),
        (["--pruners", "@9"], "--pruner must be one of"),
        (["--pruners", "snip@9", "--steps", 3], "--steps cannot be combined with --pruners that"),
        (["--allocations", "shake"], "--allocation must be one of"),
        (["--ablates", "shake"], "--ablate must be one of"),
        (["--cycles", "2", "--pruners", "snip"], "make two sweeps"),
    ],
)
def test_a_wrong_option_is_a_usage_error_and_nothing_is_run(arguments, words, tmp_path):
    outcome = sweep(*arguments, "--results", tmp_path)
    assert outcome.exit_code == 2 and words in outcome.output
    assert not list(tmp_path.iterdir())


def test_a_dry_run_lists_all_runs_with_state_and_cost_and_runs_nothing(tmp_path):
    options = ("--compressions", "1,10", "--pruners", "random,synflow", "--seeds", "0,1")
    options += ("--width", 0.1, "--epochs", 1, "--results", tmp_path)
    [config, *_] = grid(
        axes(compression=[1.0]), {"width": 0.1, "epochs": 1, "results": str(tmp_path)}
    )
    run(config)
    before = sorted(tmp_path.rglob("*"))
    outcome = sweep(*options, "--dry-run")
    assert outcome.exit_code == 0
    *rows, total, time, data, disk = outcome.stdout.splitlines()
    assert [row.split()[0] for row in rows].count("finished") == 1 and len(rows) == 6
    assert re.fullmatch(r"5 of 6 runs to do, about 0:00:\d\d \(estimate\)", total)
    words = r"time  mlp on digits, 5 runs on \w+: [\d.e-]+ hours on one device, [\d.e-]+ on eight "
    assert re.fullmatch(words + r"\(estimate, measured runs like these: 1\)", time)
    assert data.startswith("data  digits is in ") and "B (estimate), " in disk
    assert sorted(tmp_path.rglob("*")) == before


def test_an_estimate_grows_with_the_work_and_learns_from_finished_runs():
    short, long = (resolve({"model": "vgg11", "dataset": "mnist", "epochs": n}) for n in (1, 100))
    assert guess(long) > 20 * guess(short) > 20
    allocated = {"model": "vgg11", "dataset": "mnist", "pruner": "random", "epochs": 0}
    assert guess(resolve(allocated | {"allocation": "synflow"})) > guess(resolve(allocated)) + 0.1
    clock = Clock()
    clock.learn(short, 3 * guess(short))
    assert clock.seconds(long) == pytest.approx(3 * guess(long))  # rounding


def test_a_training_that_runs_share_is_expected_once(tmp_path):
    """Two dense networks (seeds 0, 1), then one training for each run of one cycle."""
    given = {"epochs": 5000, "rewind": False, "results": str(tmp_path)}
    configs = grid(axes(compression=[1.0, 10.0, 100.0], cycles=[1], seed=[0, 1]), given)
    alone = [plan([config], 1)["seconds"] for config in configs]
    together = [row["seconds"] for row in plan(configs, 1)["runs"]]
    shares = [1, 1 / 2, 1 / 2] * 2
    expected = [share * seconds for share, seconds in zip(shares, alone, strict=True)]
    assert together == pytest.approx(expected)


def test_a_sweep_has_one_estimate(tmp_path, monkeypatch, one_process):
    """The lines of its runs have it: the bar cannot know which of them take long."""
    monkeypatch.setattr(bar, "MINUTE", 0)
    two = ["--compressions", "10,20", "--seeds", "0", "--epochs", "0", "--device", "cpu"]
    lines = sweep("--pruners", "magnitude", *two, "--results", tmp_path).stderr.splitlines()
    assert {"sweep: 1 of 2", "sweep: 2 of 2"} < set(lines)
    assert sum("; 1 to do, about " in line for line in lines) == 1


def test_a_failing_run_is_recorded_and_stops_no_other(tmp_path):
    """The first model raises, the second ends its process, the third is trained."""
    models = "proofs_tests.tools.factories:broken,proofs_tests.tools.factories:deadly,mlp"
    options = ("--models", models, "--pruners", "magnitude", "--compressions", 10, "--seeds", 0)
    options += ("--epochs", 1, "--results", tmp_path)
    outcome = sweep(*options)
    assert outcome.exit_code == 1 and "2 of 3 runs are not finished" in outcome.output
    failures = {p.parent.name.split("-")[1]: p.read_text() for p in tmp_path.glob("*/failure.txt")}
    assert "it is broken" in failures["broken"] and "exit code 3" in failures["deadly"]
    assert [p.parent.name.split("-")[0] for p in tmp_path.glob("*/result.json")] == ["mlp"]


def test_a_run_that_another_process_finishes_meanwhile_is_finished(tmp_path):
    configs = grid(axes(seed=[0, 1]), {"results": str(tmp_path)})
    here, there = (config.directory for config in configs)

    def all_elsewhere(todo):
        for config in list(todo):
            yield Outcome(config, "elsewhere", "another process is working on it")
        result(tmp_path, "synflow", 10, 80.0).rename(here)

    outcomes = sweeps.sweep(configs, 1, Silent(), all_elsewhere)
    assert [outcome.state for outcome in outcomes] == ["finished", "elsewhere"]
    assert (outcomes[0].reason, there.exists()) == ("", False)


@pytest.mark.usefixtures("one_process")
def test_the_record_of_a_failure_goes_when_the_run_succeeds(tmp_path):
    [config] = grid(axes(), {"epochs": 0, "results": str(tmp_path)})
    config.directory.mkdir(parents=True)
    (config.directory / files.FAILURE).write_text("out of memory\n")
    assert state(config) == "failed"
    assert sweep("--epochs", 0, "--pruners", "synflow", "--compressions", 10, "--seeds", 0,
                 "--results", tmp_path).exit_code == 0  # fmt: skip
    assert state(config) == "finished" and not (config.directory / files.FAILURE).exists()


def test_a_run_that_another_process_works_on_is_left_to_it(tmp_path):
    [config] = grid(axes(), {"epochs": 0, "results": str(tmp_path)})
    with files.owned(config.directory):
        outcome = attempt(config)
    assert outcome.state == "elsewhere" and "another process" in outcome.reason
    assert state(config) == "to do"


def test_the_threads_are_divided_among_the_jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("THREADS_FILE", str(tmp_path / "threads"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    options = (
        "--models",
        "proofs_tests.tools.factories:counting_threads",
        "--pruners",
        "magnitude",
    )
    options += ("--compressions", "10", "--seeds", "0", "--epochs", 0, "--results", tmp_path)
    assert sweep(*options, "--jobs", 2).exit_code == 0
    assert (tmp_path / "threads").read_text() == "3"


@pytest.mark.usefixtures("one_process")
def test_the_summary_shows_mean_least_and_largest_of_the_seeds(tmp_path):
    outcome = sweep("--pruners", "magnitude", "--compressions", 10, "--seeds", "0,1", "--epochs",
                    1, "--width", 0.1, "--results", tmp_path, "--jobs", 2)  # fmt: skip
    assert outcome.exit_code == 0
    top1 = [json.loads(p.read_text())["final"]["top1"] for p in tmp_path.glob("*/result.json")]
    assert f"{sum(top1) / 2:.2f} ({min(top1):.2f} - {max(top1):.2f})" in outcome.stdout


TEN_RUNS = "--pruners random,synflow --compressions 1,10,100 --seeds 0,1 --steps 10 --epochs 3"


def start(folder: Path, options: str = TEN_RUNS) -> subprocess.Popen:
    """Start a sweep in a process group of its own, as a terminal does."""
    options += " --lr-drops none --width 0.1 --jobs 2"
    command = [sys.executable, str(ROOT / "cli.py"), "sweep", *options.split()]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(
        [*command, "--results", str(folder)],
        start_new_session=True,
        preexec_fn=accept_ctrl_c,
        **quiet,
    )


def accept_ctrl_c() -> None:
    """Handle SIGINT as usual: a shell ignores it in background jobs, so also in these tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(true: Callable[[], object], seconds: float = 90) -> None:
    """Poll until the condition holds; fail after some seconds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def equal_masks(a: Path, b: Path) -> bool:
    """True if two files hold the same masks."""
    a, b = load_masks(a), load_masks(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def group_is_gone(leader: subprocess.Popen) -> bool:
    """True if no process of its group is left."""
    leader.poll()
    try:
        os.killpg(leader.pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def one_thread():
    """As many threads as each of two jobs has: sums depend on the number in the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_no_worker_outlives_a_killed_sweep(tmp_path):
    """Its run would take an hour."""
    sweep = start(tmp_path, "--pruners random --compressions 10 --seeds 0 --epochs 10000")
    wait_until(lambda: list(tmp_path.glob("*/history.csv")))
    sweep.kill()
    wait_until(lambda: group_is_gone(sweep), seconds=20)


@pytest.mark.slow
def test_a_sweep_killed_or_interrupted_goes_on_without_loss_or_repetition(tmp_path, one_thread):
    """After kill -9 of the parent and then Ctrl-C, every result is that of an undisturbed run."""

    def finished() -> dict[Path, tuple]:
        paths = sorted(tmp_path.glob("*/result.json"))
        return {p: (p.read_text(), p.stat().st_mtime_ns) for p in paths}

    def epochs() -> dict[Path, list[str]]:
        return {p: p.read_text().splitlines() for p in tmp_path.glob("*/history.csv")}

    seen: dict[Path, tuple] = {}
    trained: dict[Path, list[str]] = {}
    for wanted, stop in ((1, signal.SIGKILL), (4, signal.SIGINT)):
        sweep = start(tmp_path)
        wait_until(lambda wanted=wanted: len(epochs()) > len(finished()) >= wanted)
        (os.killpg if stop == signal.SIGINT else os.kill)(sweep.pid, stop)
        wait_until(lambda sweep=sweep: group_is_gone(sweep), seconds=20)
        assert seen.items() <= finished().items()
        seen, trained = finished(), epochs()
        assert len(seen) < 10

    assert start(tmp_path).wait(timeout=200) == 0
    assert len(finished()) == 10 and seen.items() <= finished().items()
    for path, rows in trained.items():  # their seconds would differ if trained again
        assert epochs()[path][: len(rows)] == rows
    for path, (text, _) in finished().items():
        stored = restore(json.loads(text)["config"])
        config = replace(stored, results=str(tmp_path / "undisturbed"))
        assert repeatable(json.loads(run(config).read_text())) == repeatable(json.loads(text))
        masks = [folder / files.MASKS for folder in (config.directory, path.parent)]
        assert equal_masks(*masks)
