"""The log of a run: the callback of --log gets the values of each step once."""

import json
from collections.abc import Mapping
from pathlib import Path

from experiments.callbacks import callback
from experiments.config import RunConfig, fits
from experiments.runs.facts import densities
from experiments.runs.files import write_text
from experiments.runs.owners import located, parsed
from prune.masks import Masks
from train.ranks import rank

LOGGED = ".logged"  # in a run's folder: name of a callback -> the last step that it was given


def log(config: RunConfig, before: int, epoch: int, values: Mapping[str, float]) -> None:
    """Hand the values of an epoch to the callback of --log, unless it has had them.

    The step is noted before the call. So no kill makes a resumed run log it twice.

    Args:
        config: Of the run; without `log` nothing is done.
        before: The number of trainings of the run before this one, of `imp`.
        epoch: From 1; 0 before the training.
        values: Numbers by name.

    Raises:
        ValueError: If the callback fails; the step is then logged by the next call.
    """
    if config.log is None or rank() != 0:
        return
    step = before * (config.epochs + 1) + epoch
    path = config.directory / LOGGED
    noted = _noted(path)
    if step <= noted.get(config.log, -1):
        return
    _note(path, noted | {config.log: step})
    try:
        callback(config.log)(step, {"epoch": epoch, **values}, _facts(config))
    except (Exception, SystemExit) as error:  # a user's callback may fail in any way
        _note(path, noted)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"--log {config.log} failed at step {step}: {reason}") from error


def kept_parts(config: RunConfig, masks: Masks) -> dict[str, float]:
    """The density of each tensor, as values of a log; nothing without one."""
    found = densities(masks) if config.log else {}
    return {f"density/{name}": part for name, part in found.items()}


def _facts(config: RunConfig) -> dict[str, object]:
    """The run as a callback sees it."""
    place = config.directory
    return {"name": place.name, "directory": str(place), "config": config.decisive}


def _note(path: Path, noted: Mapping[str, int]) -> None:
    write_text(path, json.dumps(noted) + "\n")


def _noted(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    return located(f"log file {path}", lambda: _read(path))


def _read(path: Path) -> dict[str, int]:
    noted = parsed(path.read_bytes())
    if not fits(dict[str, int])(noted):
        raise ValueError("it should have a step for each callback")
    return noted
