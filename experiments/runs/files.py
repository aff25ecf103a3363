"""The files of a run: their names, writing them whole, and reading them strictly."""

import csv
import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import filter as matching
from importlib.metadata import version
from math import isfinite
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from experiments.config import RunConfig
from experiments.runs import packed
from experiments.runs.provenance import provenance
from prune import load_masks, save_masks
from prune.masks import Masks
from train.files import lock, whole

RESULT, MASKS, LAYERS = "result.json", "masks.npz", "layers.csv"
STEPS, HISTORY, WEIGHTS = "steps.csv", "history.csv", "weights.csv"
CHECKPOINT, FAILURE = "checkpoint.pt", "failure.txt"

# Columns of each CSV and the types of their values; a float may be missing (an empty cell, None).
LAYER_COLUMNS = {
    "name": str,
    "shape": str,
    "size": int,
    "kept": int,
    "density": float,
    "score_sum": float,
    "score_mean": float,
    "mean_square_weight": float,
}
STEP_COLUMNS = {"step": int, "kept": int, "R": float, "prune_cut_ratio": float, "seconds": float}
HISTORY_COLUMNS = {
    "epoch": int,
    "lr": float,
    "train_loss": float,
    "test_loss": float,
    "top1": float,
    "top5": float,
    "seconds": float,
}
WEIGHT_COLUMNS = {"epoch": int, "name": str, "mean_square": float}
REQUIRED = {
    "config",
    "prunable",
    "kept",
    "compression",
    "density",
    "empty_tensors",
    "connected",
    "max_prune_cut_ratio",
    "steps",
    "score_dtype",
    "untrained",
    "best",
    "final",
    "seconds",
    "versions",
}


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text, newline="")


def write_rows(path: Path, columns: Iterable[str], rows: Iterable[Mapping]) -> None:
    """Write a CSV whole or not at all; None becomes an empty cell."""
    with whole(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path, columns: Mapping[str, type]) -> list[dict]:
    """Read what `write_rows` wrote: the same values, of the types that `columns` gives.

    Raises:
        ValueError: If the file is damaged: a column or cell is missing, or a number is none.
    """
    try:
        with open(path, newline="") as file:
            header, *lines = csv.reader(file, strict=True)
        if header != list(columns):
            raise ValueError
        return [_row(columns, line) for line in lines]
    except (ValueError, csv.Error):
        text = f"{path} is damaged: it should have a number in each of {', '.join(columns)}"
        raise ValueError(text) from None


def _row(columns: Mapping[str, type], cells: list[str]) -> dict:
    pairs = zip(columns.items(), cells, strict=True)
    return {name: _value(kind, cell) for (name, kind), cell in pairs}


def _value(kind: type, cell: str) -> str | int | float | None:
    """Convert one cell."""
    if kind is float and cell == "":
        return None
    value = kind(cell)
    if kind is float and not isfinite(value):
        raise ValueError
    return value


def write_result(path: Path, config: RunConfig, measured: Mapping) -> None:
    """Write result.json: the configuration, what was measured, and the code that did it."""
    made_by = {**versions(), **provenance()}
    write_text(path, result_text({"config": config.decisive, **measured, "versions": made_by}))


def result_text(content: Mapping) -> str:
    """The text of result.json."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def finished(results: Path, pattern: str = "*") -> list[Path]:
    """The paths, for `read_result`, of the finished runs of a folder and of its pack, by name.

    Args:
        results: The folder.
        pattern: A pattern, as in a shell, for the name of the run's directory.

    Raises:
        ValueError: If the pack is damaged.
    """
    own = {path.parent.name for path in results.glob(f"*/{RESULT}")}
    found = matching(own | packed.names(results), pattern)
    return [results / name / RESULT for name in sorted(found)]


def read_result(path: Path) -> dict:
    """Read result.json or, where there is none, the run's line in the pack of the results folder.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If it is damaged.
    """
    if not path.exists():
        return packed.result(path.parent, REQUIRED)
    try:
        result = json.loads(path.read_text())
        missing = REQUIRED - set(result)
    except (ValueError, TypeError) as error:
        raise ValueError(f"result file {path} is damaged ({error})") from None
    if missing:
        raise ValueError(f"result file {path} is damaged: it lacks {', '.join(sorted(missing))}")
    return result


def write_masks(path: Path, masks: Masks, config: RunConfig, notes: Sequence[str] = ()) -> None:
    """Write a mask file, with the run that made it and the notes on its pruning as metadata."""
    owner = {"run": config.directory.name, "config": json.dumps(config.decisive)}
    save_masks(masks, path, owner | ({"notes": json.dumps(notes)} if notes else {}))


def read_masks(
    path: Path, model: nn.Module, config: RunConfig
) -> tuple[dict[str, Tensor], list[str]]:
    """Read a mask file of the run of this configuration: the masks, and the notes.

    Raises:
        ValueError: If it is damaged, does not fit the model, or another run made it.
    """
    masks = load_masks(path, model, exclude=config.exclude)
    with np.load(path, allow_pickle=False) as archive:
        owner = str(archive["__run"]) if "__run" in archive else "no run"
        notes = json.loads(str(archive["__notes"])) if "__notes" in archive else []
    if owner != config.directory.name:
        raise ValueError(f"mask file {path} is that of {owner}, not of {config.directory.name}")
    return masks, notes


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that compute."""
    packages = {name: version(name) for name in ("numpy", "torch", "torchvision")}
    return {"python": platform.python_version(), **packages}


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold the lock on a run's directory, so that no second process works in it.

    The operating system frees the lock also after a crash.

    Raises:
        BlockingIOError: If another process holds it.
        OSError: If the directory cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        if not lock(file):
            raise BlockingIOError(f"another process is working on {directory}")
        yield
