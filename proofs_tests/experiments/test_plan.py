"""`sweep --dry-run`: hours and their basis, data that is missing, disk, all without any work."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from experiments.runs import files
from experiments.runs.imp import perform
from experiments.runs.pack import pack
from experiments.runs.run import run
from experiments.sweeps.cost import ASSUMED, Clock, guess
from experiments.sweeps.grid import grid
from experiments.sweeps.plan import plan, times
from proofs_tests.tools.runs import configured
from proofs_tests.tools.sweeps import axes

pytestmark = pytest.mark.usefixtures("one_thread")

MLP = "--pruners magnitude --compressions 10 --seeds 0,1 --epochs 1 --device cpu"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(*options: str) -> list[str]:
    done = CliRunner().invoke(main, ["sweep", *options, "--dry-run"])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def measured(folder: Path, **more) -> float:
    """Make a run of the network of MLP with another seed; return its seconds and a start's."""
    config = configured(folder, pruner="magnitude", steps=None, epochs=1, seed=7, **more)
    seconds = json.loads(run(config).read_text())["seconds"]
    return sum(seconds.values())


def of_mlp(results: str = "there", **more) -> list:
    return grid(axes(pruner=["magnitude"], seed=[0, 1]), {"epochs": 1, "results": results} | more)


# ---- data -----------------------------------------------------------------------------------


def test_missing_data_is_named_with_a_remedy_and_nothing_is_made(empty_folder):
    given = ["--models", "mlp", "--datasets", "mnist,digits", *MLP.split(), "--data-dir", "d"]
    missing, here = (line for line in lines(*given) if line.startswith("data  "))
    assert "is not in d/" in missing
    assert missing.endswith("; run `synflow data fetch mnist --data-dir d`")
    assert here.startswith("data  digits is in /")
    assert not list(empty_folder.iterdir())


def test_data_that_no_run_reads_is_not_named():
    given = "--datasets mnist --pruners synflow --compressions 10 --seeds 0 --epochs 0"
    assert not [line for line in lines(*given.split()) if line.startswith("data")]


# ---- time -----------------------------------------------------------------------------------


def test_runs_that_the_sweep_does_not_have_are_measurements(tmp_path):
    seconds = 1 + measured(tmp_path / "there")
    [row] = plan(of_mlp(), 1)["times"]
    assert (row["runs"], row["basis"], row["measured"]) == (2, "measured", 1)
    assert row["hours"] == pytest.approx(2 * seconds / 3600)


def test_packs_in_results_are_measurements(tmp_path):
    measured(tmp_path / "results" / "laptop")
    pack(tmp_path / "results" / "laptop")
    for path in (tmp_path / "results" / "laptop").glob("*/"):
        shutil.rmtree(path)
    assert plan(of_mlp(), 1)["times"][0]["measured"] == 1
    assert any("(estimate, measured runs like these: 1)" in line for line in lines(*MLP.split()))


def test_runs_of_another_width_are_none(tmp_path):
    measured(tmp_path / "there", width=0.5)
    assert plan(of_mlp(), 1)["times"][0]["basis"] == "speed"
    assert any("by this machine's speed, no run" in line for line in lines(*MLP.split()))


def test_a_damaged_result_elsewhere_is_passed_over(tmp_path):
    measured(tmp_path / "there")
    [path] = (tmp_path / "there").glob("*/result.json")
    path.write_text("{")
    assert plan(of_mlp(), 1)["times"][0]["measured"] == 0


def test_no_code_is_run_because_a_result_names_it(tmp_path, monkeypatch):
    """In a folder whose name looks like one of this sweep's network."""
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()")
    monkeypatch.syspath_prepend(str(tmp_path))
    measured(tmp_path / "there")
    [path] = (tmp_path / "there").glob("*/result.json")
    content = json.loads(path.read_text())
    del content["sha256"]
    content["config"] |= {"model": "evil:net"}
    path.write_text(json.dumps(content))
    path.parent.rename(tmp_path / "there" / "mlp-digits-like")
    assert files.read_result(tmp_path / "there" / "mlp-digits-like" / files.RESULT)
    assert plan(of_mlp(), 1)["times"][0]["basis"] == "speed"
    assert not (tmp_path / "ran").exists()


def test_measurements_of_the_sweep_itself_come_first():
    one, other = of_mlp()
    clock = Clock()
    clock.learn(one, 9 * guess(one), elsewhere=True)
    assert clock.seconds(other) == pytest.approx(9 * guess(other))
    clock.learn(one, 3 * guess(one))
    assert clock.seconds(other) == pytest.approx(3 * guess(other))
    assert clock.basis(other) == ("measured", 1)
    wider = replace(other, width=0.5)
    assert clock.basis(wider) == ("scaled", 1)
    assert clock.seconds(wider) == pytest.approx(3 * guess(wider))


def test_eight_devices_take_an_eighth_but_no_less_than_the_longest_run():
    configs = [config for seed in range(8) for config in of_mlp(str(seed))]
    hour = dict.fromkeys(configs, 3600.0)
    [row] = times(configs, hour, Clock())
    assert (row["hours"], row["hours_on_eight"]) == (16, 2)
    [row] = times(configs[:4], hour, Clock())
    assert (row["hours"], row["hours_on_eight"]) == (4, 1)


def test_a_card_that_is_not_here_is_assumed_and_marked():
    """VGG-16 makes 626,495,488 operations for an image (`export`), three times that in training."""
    line = "--models vgg16 --datasets cifar100 --pruners magnitude --compressions 10 --seeds 0"
    slurm = "--launcher slurm --gpus-per-run 1"
    [found] = (row for row in lines(*line.split(), *slurm.split()) if row.startswith("time"))
    hours = 626_495_488 * 160 * (3 * 50_000 + 10_000) / ASSUMED / 3600
    words = f"time  vgg16 on cifar100, 1 runs on cuda: {hours:.2g} hours on one device, "
    assert found.startswith(words)
    assert found.endswith("(estimate, no run like these is measured, 10 TFLOP/s are assumed)")


def test_several_networks_have_a_sum():
    for data, last in (("digits", "mlp on digits, 2 runs on cpu"), ("digits,mnist", "all 4 runs")):
        of_time = [row for row in lines("--datasets", data, *MLP.split()) if row[:4] == "time"]
        assert of_time[-1].startswith(f"time  {last}: ") and len(of_time) in (1, 3)


# ---- disk -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cycles", [0, 2])
def test_the_disk_is_that_of_the_files_within_a_tenth(tmp_path, cycles):
    """The dense network of a sweep of cycles is trained once, its checkpoint is linked."""
    given = {"epochs": 1, "width": 4.0, "results": "there"}
    configs = grid(axes(pruner=["magnitude"], compression=[1.0, 10.0], cycles=[cycles]), given)
    expected = plan(configs, 1)["disk"]["bytes"]
    for config in configs:
        perform(config)
    paths = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    found = sum({path.stat().st_ino: path.stat().st_size for path in paths}.values())
    assert found > 1e6 and expected == pytest.approx(found, rel=0.1)
    assert plan(configs, 1)["disk"] == {"bytes": 0, "free": None}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (2e9, "2 GB"),
        (5e15, "5,000 TB"),
    ],
)
def test_bytes_have_the_unit_that_suits_them(count, text):
    from experiments.commandline.reports import _size

    assert _size(count) == text


@pytest.mark.slow
def test_figure_6_whole_is_planned_on_one_and_on_eight_cards():
    """12 panels: 3 seeds of the dense network and of 12 compressions by 5 pruners."""
    models, data = "vgg11,vgg16,resnet18,wrn18", "cifar10,cifar100,tiny-imagenet"
    slurm = ["--launcher", "slurm", "--gpus-per-run", "1"]
    rows = lines("--models", models, "--datasets", data, *slurm)
    assert any(row.startswith("2196 of 2196 runs to do, about ") for row in rows)
    of_time = [row for row in rows if row.startswith("time")]
    assert len(of_time) == 13 and of_time[-1].startswith("time  all 2196 runs: ")
