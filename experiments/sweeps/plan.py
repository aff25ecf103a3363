"""The plan of a sweep: its runs, and estimates of the time, the data and the disk that it needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.config import RunConfig
from experiments.sweeps import disk
from experiments.sweeps.cost import Clock
from experiments.sweeps.sweep import clock_of, expected, found, new_trainings, places
from train.data import locate

CARDS = 8  # the other number of devices for which hours are given: whole runs side by side


def plan(configs: Sequence[RunConfig], jobs: int) -> dict:
    """List the runs and estimate what those to do need.

    Args:
        configs: The runs.
        jobs: The number of processes that share this machine.

    Returns:
        "runs": the name, the state and the seconds of each: those of the run itself while `jobs`
        runs share the machine, without the trainings that it shares with a run above it; of a
        finished run they are measured. "to_do": the number of the others, and "seconds" their
        time with these jobs. "times" and "data": see the functions of these names. "disk": the
        "bytes" of the files, where a checkpoint that several runs share counts once, and those
        that are "free".
    """
    states, taken = found(configs)
    todo = [config for config in states if config not in taken]
    clock = clock_of(taken, todo, jobs)
    new = new_trainings(todo, taken)
    seconds = taken | expected(clock, new)
    rows = [
        {"run": config.directory.name, "state": states[config], "seconds": seconds[config]}
        for config in configs
    ]
    return {
        "runs": rows,
        "to_do": len(todo),
        "seconds": sum(seconds[config] for config in todo) / jobs,
        "times": times(todo, seconds, clock, jobs),
        "data": data(todo),
        "disk": _disk(new),
    }


def _disk(new: Mapping[RunConfig, tuple[int, int]]) -> dict:
    results = {config.results for config in new}
    return {
        "bytes": disk.needed({config: own for config, (own, _) in new.items()}),
        "free": disk.free(Path(results.pop())) if results else None,
    }


def times(
    todo: Sequence[RunConfig], seconds: Mapping[RunConfig, float], clock: Clock, jobs: int = 1
) -> list[dict]:
    """The hours of each network and data set on one device and on eight, and where they come from.

    "basis" is one of BASES in `cost`, "measured" the number of finished runs behind it.
    """
    groups: dict[tuple, list[RunConfig]] = {}
    for config in todo:
        groups.setdefault((config.model, config.dataset, config.device), []).append(config)
    rows = []
    for (model, dataset, device), group in groups.items():
        all_seconds = [seconds[config] for config in group]
        hours = sum(all_seconds) / jobs / 3600
        many = max(hours / CARDS, max(all_seconds) / jobs / 3600)
        basis, count = clock.basis(group[0])
        row = {"model": model, "dataset": dataset, "device": device, "runs": len(group)}
        row |= {"hours": hours, "hours_on_eight": many, "basis": basis, "measured": count}
        rows.append(row)
    return rows


def data(todo: Sequence[RunConfig]) -> list[dict]:
    """The folder of each data set that is read; where it is missing, the reason and a remedy."""
    rows = []
    for name, place in places(todo):
        row = {"dataset": name, "folder": None, "missing": None, "remedy": None}
        try:
            row["folder"] = str(locate(name, place))
        except FileNotFoundError as error:
            row |= {"missing": str(error), "remedy": getattr(error, "remedy", None)}
        rows.append(row)
    return rows
