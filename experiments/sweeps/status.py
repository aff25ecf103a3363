"""The status of a sweep's runs: from their files, their locks and the queue of Slurm."""

from collections.abc import Mapping, Sequence

from experiments.config import RunConfig
from experiments.runs import files
from experiments.sweeps.slurm import job_of, lost, queued
from experiments.sweeps.sweep import state, warn_of_packs

STATUSES = ("done", "running", "waiting", "failed")
DONE = {"status": "done", "reason": ""}


def status(configs: Sequence[RunConfig]) -> list[dict]:
    """Find the status of each run: the name of its directory, one of STATUSES, and the reason.

    A run is running while a process holds its lock. It has failed if its job is in the queue no
    more, too. The reason is that of a failure, otherwise "".
    """
    warn_of_packs(configs)
    left = [config for config in configs if state(config) != "finished"]
    queue = queued() if any(map(job_of, left)) else {}  # before their files are read again
    found = {config: _status(config, queue) for config in left}
    return [{"run": config.name, **found.get(config, DONE)} for config in configs]


def counts(rows: Sequence[Mapping]) -> dict[str, int]:
    """The number of runs of each status."""
    found = [row["status"] for row in rows]
    return {name: found.count(name) for name in STATUSES}


def failed(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs that have failed."""
    rows = status(configs)
    return [c for c, row in zip(configs, rows) if row["status"] == "failed"]


def _status(config: RunConfig, queue: Mapping[str, str]) -> dict:
    found, job = state(config), job_of(config)
    if found == "finished":
        return DONE
    if files.is_owned(config.directory):
        return {"status": "running", "reason": ""}
    if job in queue:
        return {"status": "waiting", "reason": ""}
    if found == "failed":
        return {"status": "failed", "reason": _reason(config)}
    if job is not None:
        return {"status": "failed", "reason": lost(config, job)}
    return {"status": "waiting", "reason": ""}


def _reason(config: RunConfig) -> str:
    failure = config.directory / files.FAILURE
    if failure.exists():
        return failure.read_text().strip()
    try:
        files.read_result(config.directory / files.RESULT)
    except (ValueError, OSError) as error:
        return str(error)
    return ""
