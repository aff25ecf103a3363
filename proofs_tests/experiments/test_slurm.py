"""Sweeps on a real Slurm of one node: jobs are killed and the node is lost, no run is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runs.files import CHECKPOINT, RESULT
from proofs_tests.tools import ROOT
from proofs_tests.tools.runs import epochs, raw, timeless
from proofs_tests.tools.slurm import Slurm, missing, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}"),
]
EIGHT_RUNS = "--pruners magnitude,synflow --compressions 10,100 --seeds 0,1 --epochs 40 --steps 3"
FILES = ("result.json", "masks.npz", "layers.csv", "steps.csv", "history.csv", "checkpoint.pt")


@pytest.fixture
def slurm(tmp_path):
    cluster = Slurm(tmp_path / "cluster")
    try:
        yield cluster
    finally:
        cluster.do("stop")
    assert not cluster.left()


def sweep(results: Path, *more: str, options: str = EIGHT_RUNS) -> list[str]:
    """The command line of a sweep."""
    options += f" --lr-drops none --device cpu --results {results}"
    return [sys.executable, str(ROOT / "cli.py"), "sweep", *options.split(), *more]


def begun(results: Path, but: set[str] = frozenset()) -> set[str]:
    """The runs that are in their training, without these."""
    found = {path.parent.name for path in results.glob(f"*/{CHECKPOINT}")}
    return {name for name in found - set(but) if not (results / name / RESULT).exists()}


@pytest.mark.parametrize("lost", [False, True])
def test_no_process_is_left_after_a_stop(slurm, lost):
    """Also if the daemon of the node was killed while it had a job."""
    slurm.command("sbatch", "--output=/dev/null", "--wrap", "sleep 1000")
    wait_until(lambda: "RUNNING" in slurm.command("squeue", "--noheader", "--format=%T"), 60)
    daemon = int((slurm.folder / "slurmd.pid").read_text())
    assert len(slurm.left() - {daemon}) >= 3  # slurmctld, munged and the job's slurmstepd
    if lost:
        os.kill(daemon, signal.SIGKILL)


def test_eight_runs_survive_a_killed_job_and_a_lost_node(slurm, tmp_path):
    """Slurm requeues what the node has lost; a killed job is done by --retry-failed."""
    alone, results = tmp_path / "alone", tmp_path / "results"
    quiet = {"env": slurm.environment, "capture_output": True, "text": True}
    subprocess.run(sweep(alone), check=True, **quiet)
    on_slurm = sweep(results, "--launcher", "slurm", "--runs-per-job", "2")
    first = subprocess.Popen(
        on_slurm, env=slurm.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    wait_until(lambda: begun(results), 120)
    [killed] = begun(results)
    job = (results / killed / "slurm.txt").read_text().strip()
    slurm.command("scancel", "--signal=KILL", "--full", job)
    wait_until(lambda: begun(results, {killed}), 120)
    slurm.crash()
    slurm.do("node")
    _, errors = first.communicate(timeout=400)
    assert first.returncode == 1
    assert f"job {job} ended without a result" in errors.decode()
    files = results.glob("*/slurm.txt")
    of_job = [file.parent for file in files if file.read_text().strip() == job]
    failed = {run.name for run in of_job if not (run / RESULT).exists()}  # one may have ended
    assert failed and len(of_job) == 2
    counted = subprocess.run(sweep(results, "--status"), **quiet).stdout
    done = f"{8 - len(failed)} done, 0 running, 0 waiting, {len(failed)} failed"
    assert counted.splitlines()[-1] == f"8 runs: {done}"
    again = subprocess.run([*on_slurm, "--retry-failed"], timeout=200, **quiet)
    assert again.returncode == 0, again.stderr
    names = sorted(path.parent.name for path in alone.glob(f"*/{RESULT}"))
    assert names == sorted(path.parent.name for path in results.glob(f"*/{RESULT}"))
    assert len(names) == 8
    for name in names:
        for file in FILES:
            assert timeless(alone / name / file) == timeless(results / name / file), (name, file)


ONE_RUN = "--pruners synflow --compressions 10 --seeds 0 --steps 3 --epochs"


def directory_of(results: Path) -> Path:
    """The directory of the one finished run."""
    [path] = results.glob(f"*/{RESULT}")
    return path.parent


def test_a_preempted_run_is_requeued_and_goes_on(slurm, tmp_path):
    """By the signal that Slurm sends when it preempts a job, and before a job's time is up."""
    options, results = f"{ONE_RUN} 300", tmp_path / "results"
    watched = subprocess.Popen(
        sweep(results, "--launcher", "slurm", options=options), env=slurm.environment
    )
    wait_until(lambda: begun(results), 120)
    slurm.command("scancel", "--signal=USR2", 1)
    wait_until(lambda: "PENDING" in slurm.command("squeue", "--noheader", "--format=%T"), 60)
    slurm.command("scontrol", "update", "JobId=1", "StartTime=now")  # not in two minutes
    assert watched.wait(timeout=300) == 0
    slurm.command(*sweep(tmp_path / "alone", options=options), seconds=300)
    requeued, alone = directory_of(results), directory_of(tmp_path / "alone")
    assert all(timeless(alone / name) == timeless(requeued / name) for name in FILES)
    assert "this job is preempted" in (results / "slurm" / "1_0_log.err").read_text()


def test_a_run_on_two_ranks_in_a_job_ends_as_one_process(slurm, tmp_path):
    options = f"{ONE_RUN} 3"
    ranks = ("--launcher", "slurm", "--ranks-per-run", "2")
    slurm.command(*sweep(tmp_path / "two", *ranks, options=options), seconds=300)
    slurm.command(*sweep(tmp_path / "one", options=options), seconds=300)
    two, one = directory_of(tmp_path / "two"), directory_of(tmp_path / "one")
    assert raw(two)["masks.npz"] == raw(one)["masks.npz"]
    for ours, theirs in zip(epochs(one), epochs(two), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-3)
