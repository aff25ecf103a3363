"""The options of a sweep's launchers, and the status of its runs, without a cluster."""

import os
import shutil
import sys

import pytest
from click.testing import CliRunner

from cli import main
from experiments.runs import files
from experiments.sweeps.plan import plan
from experiments.sweeps.slurm import Cluster, _parameters, _parts
from proofs_tests.tools.runs import configured
from train.files import is_locked, lock

RUNS = "--pruners magnitude --compressions 10 --seeds 0,1,2,3 --epochs 0 --device cpu".split()


def sweep(*arguments: object):
    return CliRunner().invoke(main, ["sweep", *map(str, arguments)])


@pytest.mark.parametrize(
    "options, words",
    [
        (["--partition", "gpu"], "--partition is for --launcher slurm"),
        (["--gpus-per-run", "1"], "--gpus-per-run is for --launcher slurm"),
        (["--launcher", "slurm", "--jobs", "2"], "--jobs is for --launcher local"),
        (["--jobs", "0"], "--jobs must be at least 1"),
    ],
)
def test_an_option_of_the_other_launcher_is_refused(options, words):
    found = sweep(*RUNS, *options)
    assert (found.exit_code, words in found.output) == (2, True), found.output


def test_without_slurm_or_submitit_one_sentence_names_what_is_missing(tmp_path, monkeypatch):
    given = [*RUNS, "--launcher", "slurm", "--results", tmp_path]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "squeue is not found" in sweep(*given).output
    (tmp_path / "squeue").write_text("#!/bin/sh\n")
    os.chmod(tmp_path / "squeue", 0o700)
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'synflow[slurm]'" in sweep(*given).output


@pytest.mark.usefixtures("one_process")
def test_the_status_counts_done_running_waiting_and_failed(tmp_path):
    places = ["--results", tmp_path]
    assert sweep(*RUNS, "--seeds", "0", *places).exit_code == 0
    given = {"pruner": "magnitude", "compression": 10.0, "steps": None, "epochs": 0}
    runs = [configured(tmp_path, **given, seed=seed).directory for seed in range(4)]
    runs[2].mkdir()
    (runs[2] / files.FAILURE).write_text("no luck\n")
    with files.owned(runs[1]):
        lines = sweep(*RUNS, "--status", *places).output.splitlines()
    assert lines == [
        f"running   {runs[1].name}",
        f"failed    {runs[2].name}  no luck",
        "4 runs: 1 done, 1 running, 1 waiting, 1 failed",
    ]
    listed = sweep(*RUNS, "--retry-failed", "--dry-run", *places).output
    assert runs[2].name in listed and "1 of 1 runs to do" in listed


def test_nothing_is_estimated_for_a_sweep_that_is_finished(tmp_path, finished, monkeypatch):
    """So no network is built for it."""
    config = configured(tmp_path)
    shutil.copytree(finished, config.directory)
    monkeypatch.setattr("experiments.sweeps.cost.guess", lambda _: pytest.fail("it is estimated"))
    [row] = plan([config], 1)["runs"]
    assert row["state"] == "finished" and row["seconds"] > 1


def test_a_look_at_a_lock_stops_nobody_for_long(tmp_path):
    with open(tmp_path / "a", "w") as one, open(tmp_path / "a") as two:
        assert lock(one)
        assert is_locked(two)
    with open(tmp_path / "a") as two:
        assert not is_locked(two)


def test_jobs_are_requeued_and_take_the_resources_that_are_given():
    found = _parameters(Cluster(partition="gpu", gpus_per_run=2, time=30))
    assert (found["partition"], found["gpus_per_node"], found["time"]) == ("gpu", 2, 30)
    assert found["additional_parameters"] == {"requeue": True}
    assert "partition" not in _parameters(Cluster())
    assert _parts([1, 2, 3], 2) == [[1, 2], [3]]
