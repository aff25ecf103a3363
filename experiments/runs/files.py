"""The files of a run: their names, writing them whole, and reading them strictly."""

import csv
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import filter as matching
from functools import partial
from math import isfinite
from pathlib import Path

from experiments.config import RunConfig
from experiments.runs import packed
from experiments.runs.owners import check_result, checksum, located, parsed, signed
from experiments.runs.provenance import provenance, versions
from train.files import is_locked, lock, remove_parts, whole

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
TABLES = {LAYERS: LAYER_COLUMNS, STEPS: STEP_COLUMNS, HISTORY: HISTORY_COLUMNS}
TABLES |= {WEIGHTS: WEIGHT_COLUMNS}


class PassedOver(UserWarning):
    """A damaged or foreign file is left out where many are read."""


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


def read_rows(
    path: Path, columns: Mapping[str, type], sums: Mapping[str, str] | None = None
) -> list[dict]:
    """Read what `write_rows` wrote: the same values, of the types that `columns` gives.

    Args:
        path: The file.
        columns: Names and types.
        sums: Name of a file -> its sum, as masks.npz or result.json has them.

    Raises:
        ValueError: If the file is damaged: a column or cell is missing, a number is none, or the
            sum is another.
    """
    try:
        with open(path, newline="") as file:
            header, *lines = csv.reader(file, strict=True)
        if header != list(columns):
            raise ValueError
        rows = [_row(columns, line) for line in lines]
    except (ValueError, csv.Error):
        text = f"{path} is damaged: it should have a number in each of {', '.join(columns)}"
        raise ValueError(text) from None
    if checksum(rows) != (sums or {}).get(path.name, checksum(rows)):
        raise ValueError(f"{path} is not the table that this run wrote: its check sum is another")
    return rows


def table_sums(directory: Path, names: Iterable[str] = TABLES) -> dict[str, str]:
    """The sums of those of these tables that are in a run's directory."""
    found = [name for name in names if (directory / name).exists()]
    return {name: checksum(read_rows(directory / name, TABLES[name])) for name in found}


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


def write_result(path: Path, config: RunConfig, measured: Mapping, start: str | None) -> None:
    """Write result.json: the configuration, what was measured, and the code that did it.

    Args:
        path: Of the file, beside the tables of the run.
        config: Of the run.
        measured: Entries of the file.
        start: The beginning of the training that checkpoint.pt holds; None without training.
    """
    made_by = {**versions(), **provenance()}
    content = {"config": config.decisive, **measured, "versions": made_by}
    trained = {CHECKPOINT: start} if start else {}
    write_text(path, result_text(signed(content, RESULT, trained | table_sums(path.parent))))


def result_text(content: Mapping) -> str:
    """The text of result.json."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def finished(results: Path, pattern: str = "*") -> list[Path]:
    """The paths, for `read_result`, of the finished runs of a folder and of its pack, by name.

    Args:
        results: The folder.
        pattern: A pattern, as in a shell, for the name of the run's directory.
    """
    own = {path.parent.name for path in results.glob(f"*/{RESULT}")}
    found = matching(own | packed.names(results), pattern)
    return [results / name / RESULT for name in sorted(found)]


def read_result(path: Path) -> dict:
    """Read result.json or, where there is none, the run's line in the pack of the results folder.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If it is damaged, or that of another run.
    """
    directory = path.parent.absolute().name
    if not path.exists():
        return packed.result(path.parent, partial(_check_result, directory=directory))
    return located(f"result file {path}", lambda: _read_result(path, directory))


def read_results(folder: Path) -> Iterator[tuple[dict, Path]]:
    """Yield the result and the directory of each finished run in the folder or its pack, by name.

    Warns:
        PassedOver: For each that cannot be read, that is damaged or that of another run.
    """
    pass_over_nameless(folder)
    for path in finished(folder):
        try:
            yield read_result(path), path.parent
        except (ValueError, OSError) as error:
            passed_over(error)


def passed_over(error: Exception) -> None:
    """Warn that a file is left out because of this error."""
    warnings.warn(f"left out: {error}", PassedOver, stacklevel=3)


def pass_over_nameless(folder: Path) -> None:
    """Warn of each line of the folder's pack that is too damaged to name its run."""
    for sentence in packed.nameless(folder):
        passed_over(ValueError(sentence))


def _read_result(path: Path, directory: str) -> dict:
    result = parsed(path.read_bytes())
    _check_result(result, directory)
    return result


def _check_result(result: object, directory: str) -> None:
    check_result(result, RESULT, directory)


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold the lock on a run's directory, so that no second process works in it.

    The operating system frees the lock also after a crash. What a crash has left half written is
    removed.

    Raises:
        BlockingIOError: If another process holds it.
        OSError: If the directory cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        if not lock(file):
            raise BlockingIOError(f"another process is working on {directory}")
        remove_parts(directory)
        yield


def is_owned(directory: Path) -> bool:
    """True if a process holds the lock on a run's directory."""
    try:
        with open(directory / ".lock") as file:
            return is_locked(file)
    except FileNotFoundError:
        return False
