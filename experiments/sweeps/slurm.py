"""Runs as jobs of a Slurm cluster: submitted through submitit, watched by their files and squeue.

A job array has a task for each run, or for several. Slurm requeues a task that is preempted, out
of time or lost with its node, and its run goes on from the checkpoint. Nothing here needs Slurm's
accounting. The results folder must be on a file system that all nodes share.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import experiments
from experiments.config import RunConfig
from experiments.runs import files
from experiments.sweeps import ranks
from experiments.sweeps.sweep import state
from experiments.sweeps.workers import Outcome, attempt, record_failure

JOB = "slurm.txt"  # in a run's directory: the number of its job, such as 12_3 of an array
LOGS = "slurm"  # the folder in the results folder with the logs of the jobs
LARGEST_ARRAY = 1000  # tasks; 1001 is Slurm's own limit where none is set
REQUEUES = 10_000  # of a task that is out of time: as many as it needs
POLL = 5.0  # seconds between two readings of the queue
ABSENCES = 3  # readings without a job after which it has ended: a shared disk shows files late


@dataclass(frozen=True)
class Cluster:
    """The resources of the jobs; None: as Slurm has it."""

    partition: str | None = None
    time: int = 60  # minutes
    gpus_per_run: int | None = None
    runs_per_job: int = 1
    ranks_per_run: int = 1


class Job:
    """The function of a task: do these runs one after the other."""

    def __init__(self, ranks_per_run: int):
        self.ranks = ranks_per_run
        self.stopped = False

    def __call__(self, configs: Sequence[RunConfig]) -> None:
        allotted = int(os.environ.get("SLURM_CPUS_ON_NODE", torch.get_num_threads()))
        torch.set_num_threads(min(allotted, torch.get_num_threads()))
        for config in configs:
            outcome = self._attempt(config)
            while outcome.state == "elsewhere":  # on a node that Slurm has given up
                time.sleep(POLL)
                outcome = self._attempt(config)
            record_failure(outcome)

    def _attempt(self, config: RunConfig) -> Outcome:
        outcome = attempt(config) if self.ranks == 1 else ranks.attempt(config, self.ranks)
        if self.stopped:
            raise SystemExit(1)  # submitit has requeued the task; it is no failure of the run
        return outcome

    def checkpoint(self, configs: Sequence[RunConfig]):
        """Called by submitit before a task is stopped: the function of the requeued task."""
        self.stopped = True
        return _submission(Job(self.ranks), configs)


def _submission(job: Job, configs: Sequence[RunConfig]):
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(job, configs)


def work(configs: Sequence[RunConfig], cluster: Cluster) -> Iterator[Outcome]:
    """Submit the runs that are in no job of the queue; yield each outcome when it comes.

    The jobs outlive this process; the next call waits for them.

    Raises:
        ImportError: If submitit is missing.
        OSError: If Slurm is missing, or refuses.
    """
    queue = queued()
    _submit([config for config in configs if job_of(config) not in queue], cluster)
    left, absences = list(configs), Counter()
    while left:
        queue = queued()  # before the files: a job writes its result before it leaves
        ended = [outcome for config in left if (outcome := _outcome(config, queue, absences))]
        yield from ended
        done = {outcome.config for outcome in ended}
        left = [config for config in left if config not in done]
        time.sleep(POLL if left else 0)


def queued() -> dict[str, str]:
    """The jobs of this user in the queue: number -> Slurm's state, such as PENDING.

    Raises:
        OSError: If Slurm is missing, or does not answer.
    """
    if not shutil.which("squeue"):
        raise OSError("squeue is not found: --launcher slurm is for a machine with Slurm")
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i %T"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as asked:
        jobs, complaint = asked.communicate()
    if asked.returncode:
        raise OSError(f"squeue failed: {' '.join(complaint.split())}")
    return dict(line.split() for line in jobs.splitlines())


def job_of(config: RunConfig) -> str | None:
    """The number of the job that a run was given to last."""
    try:
        return (config.directory / JOB).read_text().strip()
    except FileNotFoundError:
        return None


def _outcome(config: RunConfig, queue: dict[str, str], absences: Counter) -> Outcome | None:
    """The outcome of a run; None while its job may still do it."""
    if state(config) == "finished":
        return Outcome(config, "finished")
    failure, job = config.directory / files.FAILURE, job_of(config)
    if failure.exists():
        return Outcome(config, "failed", failure.read_text().strip())
    absences[config] = 0 if job in queue else absences[config] + 1
    if absences[config] < ABSENCES:
        return None
    return Outcome(config, "failed", lost(config, job))


def lost(config: RunConfig, job: str | None) -> str:
    """The reason of a run whose job has ended without a result."""
    log = Path(config.results).absolute() / LOGS / f"{job}_0_log.err"
    return f"job {job} ended without a result; its log is {log}"


def _submit(configs: Sequence[RunConfig], cluster: Cluster) -> None:
    if not configs:
        return
    try:
        import submitit
    except ImportError:
        text = "--launcher slurm needs the package submitit: pip install 'synflow[slurm]'"
        raise ImportError(text) from None
    executor = submitit.SlurmExecutor(Path(configs[0].results).absolute() / LOGS, REQUEUES)
    executor.update_parameters(**_parameters(cluster))
    tasks = _parts(configs, cluster.runs_per_job)
    for array in _parts(tasks, LARGEST_ARRAY):
        for config in (config for task in array for config in task):
            config.directory.mkdir(parents=True, exist_ok=True)
            (config.directory / files.FAILURE).unlink(missing_ok=True)
        jobs = executor.map_array(Job(cluster.ranks_per_run), array)
        for job, task in zip(jobs, array):
            for config in task:
                files.write_text(config.directory / JOB, f"{job.job_id}\n")


def _parts(items: Sequence, size: int) -> list:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _parameters(cluster: Cluster) -> dict:
    """The parameters of submitit. The jobs import what this process does, no current folder."""
    root = str(Path(experiments.__file__).parents[1])
    path = os.pathsep.join(dict.fromkeys([root, *filter(os.path.isabs, sys.path)]))
    given = {"partition": cluster.partition, "gpus_per_node": cluster.gpus_per_run}
    given |= {"time": cluster.time}
    return {name: value for name, value in given.items() if value is not None} | {
        "job_name": "synflow",
        "setup": [f"export PYTHONPATH={shlex.quote(path)} PYTHONSAFEPATH=1"],
        "additional_parameters": {"requeue": True},
    }
