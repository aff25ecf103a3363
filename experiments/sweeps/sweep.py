"""A sweep: its plan with estimates, the work in several processes, and the summary."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from experiments.config import RunConfig
from experiments.runs import files
from experiments.runs.progress import Progress
from experiments.runs.sharing import TRAINED, Training, trainings
from experiments.series import series_of
from experiments.sweeps.cost import START, Clock
from experiments.sweeps.workers import Outcome, record_failure, work
from train.data import locate


def state(config: RunConfig) -> str:
    """The state of a run by its files: "finished", "failed", "started" or "to do"."""
    return state_and_result(config)[0]


def state_and_result(config: RunConfig) -> tuple[str, dict | None]:
    """The state of a run, and its result if it is finished."""
    directory = config.directory
    try:
        return "finished", files.read_result(directory / files.RESULT)
    except FileNotFoundError:
        pass
    except ValueError:
        return "failed", None
    except OSError:
        if (directory / files.RESULT).exists():
            return "failed", None
        raise  # the pack of the whole folder cannot be read
    if (directory / files.FAILURE).exists():
        return "failed", None
    started = any((directory / name).exists() for name in (files.MASKS, files.CHECKPOINT))
    return "started" if started else "to do", None


def warn_of_packs(configs: Iterable[RunConfig]) -> None:
    """Warn of each line that is too damaged to name its run, in the packs beside these runs."""
    for results in dict.fromkeys(config.results for config in configs):
        files.pass_over_nameless(Path(results))


def plan(configs: Sequence[RunConfig], jobs: int) -> list[dict]:
    """List the runs: the name of the directory, the state, and an estimate of the seconds.

    The seconds are those of the run itself while `jobs` runs share the machine, without the
    trainings that it shares with a run above it. For a finished run they are measured.
    """
    states, taken = _found(configs)
    todo = [config for config in states if config not in taken]
    seconds = taken | _expected(_clock(taken, todo, jobs), todo, taken)
    return [
        {"run": config.directory.name, "state": states[config], "seconds": seconds[config]}
        for config in configs
    ]


def sweep(
    configs: Sequence[RunConfig],
    jobs: int,
    progress: Progress,
    launcher: Callable[[Sequence[RunConfig]], Iterable[Outcome]] | None = None,
) -> list[Outcome]:
    """Do all runs that are not finished, `jobs` at a time; a run that was begun goes on.

    A run that fails leaves `failure.txt` in its directory and is tried again by the next call.

    Args:
        configs: The runs.
        jobs: The number of processes here, for which the time is estimated.
        progress: Shows how far the sweep is.
        launcher: Does the runs and gives each outcome when it comes; None: processes here.

    Returns:
        The outcomes of the runs that this call did.

    Raises:
        FileNotFoundError: If a data set of the runs to do is missing; then nothing is begun.
    """
    states, taken = _found(configs)
    todo = [config for config in states if config not in taken]
    for name, place in dict.fromkeys((c.dataset, c.data_dir) for c in todo if c.reads_data):
        locate(name, Path(place))
    clock = _clock(taken, todo, jobs)
    progress.note(f"{len(configs)} runs, {_left(clock, todo, taken, jobs)}")
    if not todo:
        return []
    progress.begin("sweep", len(todo))
    outcomes = []
    for outcome in launcher(todo) if launcher else work(todo, jobs):
        outcomes.append(outcome)
        record_failure(outcome)
        todo.remove(outcome.config)
        if outcome.state == "finished":
            taken[outcome.config] = _taken(outcome.config)
            clock.learn(outcome.config, taken[outcome.config])
        progress.note(f"{_sentence(outcome)}; {_left(clock, todo, taken, jobs)}")
        progress.tick()
    return outcomes


def _found(configs: Sequence[RunConfig]) -> tuple[dict[RunConfig, str], dict[RunConfig, float]]:
    """The states of runs, and the seconds of the finished ones."""
    warn_of_packs(configs)
    states, taken = {}, {}
    for config in configs:
        states[config], result = state_and_result(config)
        if result:
            taken[config] = _seconds(result)
    return states, taken


def _clock(taken: Mapping[RunConfig, float], todo: Sequence[RunConfig], jobs: int) -> Clock:
    """A clock for the runs to do that has the times of the finished ones."""
    clock = Clock(min(jobs, len(todo) or 1))
    for config, seconds in taken.items() if todo else ():
        clock.learn(config, seconds)
    return clock


def _taken(config: RunConfig) -> float:
    return _seconds(files.read_result(config.directory / files.RESULT))


def _seconds(result: Mapping) -> float:
    return START + sum(result["seconds"].values())


def _expected(
    clock: Clock, todo: Sequence[RunConfig], finished: Iterable[RunConfig]
) -> dict[RunConfig, float]:
    """Seconds of each run to do; a training that several share counts for the first of them."""
    here = [config for config in finished if (config.directory / TRAINED).exists()]
    done: set[Training] = {training for config in here for training in trainings(config)}
    seconds = {}
    for config in todo:
        needed = trainings(config)
        own = len(set(needed) - done) / len(needed)
        seconds[config] = max(START, own * clock.seconds(config))
        done.update(needed)
    return seconds


def _left(clock: Clock, todo: Sequence[RunConfig], finished: Iterable[RunConfig], jobs: int) -> str:
    seconds = sum(_expected(clock, todo, finished).values()) / jobs
    return f"{len(todo)} to do, about {timedelta(seconds=round(seconds))} left"


def _sentence(outcome: Outcome) -> str:
    name = outcome.config.directory.name
    if outcome.state != "finished":
        return f"{name} {outcome.state}: {outcome.reason}"
    result = files.read_result(outcome.config.directory / files.RESULT)
    top1 = f", top-1 {result['final']['top1']:.2f} %" if result["final"] else ""
    return f"{name} finished in {timedelta(seconds=round(_taken(outcome.config)))}{top1}"


def summary(configs: Sequence[RunConfig]) -> list[dict]:
    """Summarise the seeds of each dataset, model, series and compression in a row.

    `top1`, `least` and `largest` are the mean, least and largest final accuracy, None where
    nothing was trained.
    """
    groups: dict[tuple, list[RunConfig]] = {}
    for config in configs:
        key = (config.dataset, config.model, series_of(config).label, config.compression)
        groups.setdefault(key, []).append(config)
    return [
        dict(zip(("dataset", "model", "pruner", "compression"), key, strict=True)) | _row(group)
        for key, group in sorted(groups.items())
    ]


def _row(configs: Sequence[RunConfig]) -> dict:
    found = [result for c in configs if (result := state_and_result(c)[1])]
    top1 = [result["final"]["top1"] for result in found if result["final"]]
    return {
        "seeds": f"{len(found)}/{len(configs)}",
        "top1": sum(top1) / len(top1) if top1 else None,
        "least": min(top1, default=None),
        "largest": max(top1, default=None),
        "connected": sum(result["connected"] for result in found),
        "empty_tensors": max((len(result["empty_tensors"]) for result in found), default=None),
    }
