"""Several ranks (gloo) compute what one process computes; a killed rank loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import cli
from experiments.runs.run import run
from proofs_tests.tools import ROOT, forks
from proofs_tests.tools import rank as ranked
from proofs_tests.tools.runs import CPU, ONE_THREAD, Killed, Killer, configured, epochs
from train import checkpoint
from train.batch_norm import share_batch_norm
from train.ranks import joined

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
# Every tolerance here: sums in another order, two ranks' instead of one's, grown in training.
ROUNDING = {"rtol": 1e-3, "atol": 1e-4}
FEW = ("run", "--device", "cpu", "--steps", "3", "--epochs")


def launch(*arguments: object) -> subprocess.Popen:
    command = [*TORCHRUN, *map(str, arguments)]
    environment = ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=ROOT, **pipes)


def history(results: Path) -> list[dict[str, float]]:
    (path,) = results.glob("*/history.csv")
    return epochs(path.parent)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    """The results of proofs_tests/tools/rank.py on two ranks."""
    folder = tmp_path_factory.mktemp("two")
    assert forks.together(2, ranked.member, folder) == [0, 0]
    return [torch.load(folder / f"rank{number}.pt") for number in (0, 1)]


def test_two_ranks_learn_as_one_process_with_batch_norm_and_uneven_batches(
    two, tmp_path, one_thread
):
    """Statistics are global and gradients weighted by size, so the curve is that of one process."""
    alone = ranked.learning_curve(tmp_path)
    for found in two:
        for ours, theirs in zip(alone["history"], found["history"], strict=True):
            for name in ("lr", "train_loss", "test_loss", "top1", "top5"):
                assert theirs[name] == pytest.approx(ours[name], rel=1e-3)
        for name, tensor in alone["state"].items():
            torch.testing.assert_close(found["state"][name], tensor, **ROUNDING)


def test_ranks_hold_the_same_weights_bit_by_bit(two):
    first, second = (found["state"] for found in two)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_shared_batch_norm_is_batch_norm_of_the_whole_batch(two):
    """Compares outputs, gradients and running statistics in float64; ranks have 4 and 3 images."""
    y, dx, *others = ranked.normalised(slice(None))
    for number, (theirs_y, theirs_dx, *theirs) in enumerate(f["normalised"] for f in two):
        torch.testing.assert_close(theirs_y, y[number::2])
        torch.testing.assert_close(theirs_dx, dx[number::2])
        for a, b in zip(theirs, others, strict=True):
            torch.testing.assert_close(a, b)


def test_all_ranks_have_the_value_of_the_first(two):
    for found in two:
        assert found["from first"]["rank"] == 0 and found["total"] == 3
        assert torch.equal(found["from first"]["tensor"], torch.arange(3))
        assert found["numbers"] == "the ranks differ in numbers: 0, 1"


def test_ranks_with_different_masks_are_stopped_before_the_masks_are_used(two):
    first, second = (found["masks"] for found in two)
    assert first == second and first.startswith("the ranks differ in masks: ")
    assert len(set(first.partition(": ")[2].split(", "))) == 2
    assert not any(found["applied"] for found in two)


def test_two_ranks_on_digits_equal_one_process(tmp_path, one_thread):
    line = [*FEW, "2", "--results", str(tmp_path / "two")]
    assert forks.together(2, forks.written, str(tmp_path / "out"), line) == [0, 0]
    out = (tmp_path / "out").read_text()
    paths = run(configured(tmp_path / "one")), next((tmp_path / "two").glob("*/result.json"))
    one, two = (json.loads(path.read_text()) for path in paths)
    assert out.splitlines()[-1] == f"result: {paths[1]}" and out.count("result:") == 1
    assert one["density"] == two["density"] and one["config"] == two["config"]
    for ours, theirs in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)


def test_two_ranks_go_on_where_one_process_was_stopped(tmp_path, one_thread):
    """They end like one process that was not stopped."""
    with pytest.raises(Killed):
        run(configured(tmp_path / "stopped"), Killer(40))
    (saved,) = tmp_path.glob("stopped/*/checkpoint.pt")
    first = checkpoint.load(saved, CPU)["history"]
    line = [*FEW, "2", "--results", str(tmp_path / "stopped")]
    assert forks.together(2, forks.command, line) == [0, 0]
    run(configured(tmp_path / "one"))
    assert len(first) == 1 and checkpoint.load(saved, CPU)["history"][:1] == first
    for ours, theirs in zip(history(tmp_path / "one"), history(tmp_path / "stopped"), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)


def wait_for(path: Path, pattern: str, seconds: float = 100) -> Path:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := list(path.glob(pattern)):
            return found[0]
        time.sleep(0.05)
    pytest.fail(f"{path}/{pattern} did not appear")


def children(pid: int) -> list[int]:
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_a_killed_rank_ends_the_run_with_one_sentence_and_one_process_goes_on(tmp_path, one_thread):
    """The checkpoint stays whole; training goes on with another number of ranks."""
    epochs = 20
    process = launch("cli.py", *FEW, epochs, "--results", tmp_path / "killed")
    saved = wait_for(tmp_path / "killed", "*/checkpoint.pt")
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    out, errors = process.communicate(timeout=100)
    ours = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert process.returncode == 1 and "result:" not in out
    assert len(ours) == 1 and "goes on from the last checkpoint" in ours[0]
    done = len(checkpoint.load(saved, CPU)["history"])
    assert 1 <= done < epochs and not list(saved.parent.glob("result.json"))
    run(configured(tmp_path / "killed", epochs=epochs))
    run(configured(tmp_path / "one", epochs=done + 1))
    killed, one = history(tmp_path / "killed"), history(tmp_path / "one")
    assert len(killed) == epochs
    for ours, theirs in zip(one, killed, strict=False):
        assert theirs == pytest.approx(ours, rel=1e-2, abs=1e-4)


def test_only_the_first_rank_speaks(tmp_path, monkeypatch):
    wrong = ["run", "--results", str(tmp_path), "--compression", "0.5"]
    assert "compression" in CliRunner().invoke(cli.main, wrong).stderr
    monkeypatch.setattr("train.launch.speaker", lambda: False)
    outcome = CliRunner().invoke(cli.main, wrong)
    assert outcome.exit_code == 2 and outcome.output == ""


@pytest.mark.parametrize("command", ["sweep", "selfcheck", "diagnose"])
def test_torchrun_is_refused_where_it_means_nothing(monkeypatch, command):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    outcome = CliRunner().invoke(cli.main, [command])
    assert outcome.exit_code == 2 and "torchrun is for run and imp" in outcome.stderr


@pytest.mark.parametrize(("device", "devices"), [("cuda:1", 2), ("cuda", 1), ("cuda", 0)])
def test_ranks_need_a_cuda_device_each(monkeypatch, device, devices):
    """All ranks raise the error before they connect, so none waits (the devices are simulated)."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
    for name, value in zip(names, ("2", "2", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="a device of its own"), joined(device):
        pytest.fail("they met")


@pytest.mark.parametrize("settings", [{"affine": False}, {"track_running_stats": False}])
def test_batch_norm_that_cannot_be_shared_is_refused(settings):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **settings))
    with pytest.raises(ValueError, match="batch norm '1' cannot be shared"):
        share_batch_norm(model)


def test_sharing_batch_norm_keeps_names_parameters_and_evaluation():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    x, before = torch.randn(2, 3, 8, 8), dict(model.named_parameters())
    expected, keys = model(x), list(model.state_dict())
    share_batch_norm(model)
    assert list(model.state_dict()) == keys and torch.equal(model(x), expected)
    assert all(p is before[name] for name, p in model.named_parameters())
