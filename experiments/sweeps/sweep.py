"""A sweep: the work in several processes, with estimates of the time, and the summary."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from experiments.config import RunConfig
from experiments.runs import files
from experiments.runs.progress import Progress
from experiments.runs.sharing import TRAINED, Training, trainings
from experiments.series import series_of
from experiments.sweeps.cost import START, Clock
from experiments.sweeps.measured import elsewhere
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
        The outcomes of the runs that were to do, at the end of the sweep.

    Raises:
        FileNotFoundError: If a data set of the runs to do is missing; then nothing is begun.
    """
    states, taken = found(configs)
    todo = [config for config in states if config not in taken]
    for name, place in places(todo):
        locate(name, place)
    clock = clock_of(taken, todo, jobs)
    if not todo:
        progress.note(f"all {len(configs)} runs are finished; none is repeated")
        return []
    progress.note(f"{len(configs)} runs, {_left(clock, todo, taken, jobs)}")
    progress.begin("sweep", len(todo), alike=False)  # the notes have the estimate
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
    return [_by_now(outcome) for outcome in outcomes]


def _by_now(outcome: Outcome) -> Outcome:
    """The outcome, or "finished" where another process has finished the run in the meantime."""
    done = outcome.state == "elsewhere" and state(outcome.config) == "finished"
    return Outcome(outcome.config, "finished") if done else outcome


def places(configs: Iterable[RunConfig]) -> list[tuple[str, Path]]:
    """The data sets that these runs read, each with the folder in which it is looked for."""
    read = dict.fromkeys((c.dataset, c.data_dir) for c in configs if c.reads_data)
    return [(name, Path(place)) for name, place in read]


def found(configs: Sequence[RunConfig]) -> tuple[dict[RunConfig, str], dict[RunConfig, float]]:
    """The states of runs, and the seconds of the finished ones."""
    warn_of_packs(configs)
    states, taken = {}, {}
    for config in configs:
        states[config], result = state_and_result(config)
        if result:
            taken[config] = _seconds(result)
    return states, taken


def clock_of(taken: Mapping[RunConfig, float], todo: Sequence[RunConfig], jobs: int) -> Clock:
    """A clock that has the times of these runs and, of runs elsewhere, those like the ones to do.

    Args:
        taken: Seconds of the finished runs of a sweep.
        todo: The others.
        jobs: The number of processes that do them.
    """
    clock = Clock(min(jobs, len(todo) or 1))
    for config, seconds in taken.items() if todo else ():
        clock.learn(config, seconds)
    for config, result in elsewhere([config for config in todo if not clock.knows(config)]):
        clock.learn(config, _seconds(result), elsewhere=True)
    return clock


def _taken(config: RunConfig) -> float:
    return _seconds(files.read_result(config.directory / files.RESULT))


def _seconds(result: Mapping) -> float:
    return START + sum(result["seconds"].values())


def expected(clock: Clock, new: Mapping[RunConfig, tuple[int, int]]) -> dict[RunConfig, float]:
    """Seconds of each run, of which `new_trainings` tells the trainings that it does itself."""
    return {
        config: max(START, own / needed * clock.seconds(config))
        for config, (own, needed) in new.items()
    }


def new_trainings(
    todo: Sequence[RunConfig], finished: Iterable[RunConfig]
) -> dict[RunConfig, tuple[int, int]]:
    """Of each run the number of trainings that no finished run and no run above has, and of all."""
    here = [config for config in finished if (config.directory / TRAINED).exists()]
    done: set[Training] = {training for config in here for training in trainings(config)}
    counts = {}
    for config in todo:
        needed = trainings(config)
        counts[config] = len(set(needed) - done), len(needed)
        done.update(needed)
    return counts


def _left(clock: Clock, todo: Sequence[RunConfig], finished: Iterable[RunConfig], jobs: int) -> str:
    seconds = sum(expected(clock, new_trainings(todo, finished)).values()) / jobs
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
