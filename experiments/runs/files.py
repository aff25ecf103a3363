"""The files of a run: how each is named, written whole, and read back with its damage named."""

import csv
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import filter as matching
from importlib.metadata import version
from math import isfinite
from pathlib import Path

import numpy as np

from experiments.config import RunConfig
from experiments.runs import packed

RESULT, MASKS, LAYERS = "result.json", "masks.npz", "layers.csv"
STEPS, HISTORY, WEIGHTS = "steps.csv", "history.csv", "weights.csv"
CHECKPOINT, FAILURE = "checkpoint.pt", "failure.txt"
LAYER_COLUMNS = (
    *("name", "shape", "size", "kept", "density"),
    *("score_sum", "score_mean", "mean_square_weight"),
)
TEXTS = ("name", "shape")
STEP_COLUMNS = ("step", "kept", "R", "prune_cut_ratio", "seconds")
HISTORY_COLUMNS = ("epoch", "lr", "train_loss", "test_loss", "top1", "top5", "seconds")
WEIGHT_COLUMNS = ("epoch", "name", "mean_square")
REQUIRED = {
    *("config", "prunable", "kept", "compression", "density", "empty_tensors", "connected"),
    *("max_prune_cut_ratio", "steps", "score_dtype", "untrained", "best", "final"),
    *("seconds", "versions"),
}


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".part")
    with open(partial, "w", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_rows(path: Path, columns: Iterable[str], rows: Iterable[Mapping]) -> None:
    """Write a CSV whole or not at all; None becomes an empty cell."""
    partial = path.with_name(path.name + ".part")
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def read_rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read what `write_rows` wrote.

    Raises:
        ValueError: If it is damaged: a column or a cell is missing, or a number is none.
    """
    try:
        with open(path, newline="") as file:
            header, *cells = csv.reader(file, strict=True)
        rows = [dict(zip(columns, row, strict=True)) for row in cells]
        numbers = [text for row in rows for name, text in row.items() if name not in TEXTS]
        if tuple(header) != tuple(columns) or not all(isfinite(float(n or 0)) for n in numbers):
            raise ValueError
    except (ValueError, csv.Error):
        text = f"{path} is damaged: it should have a number in each of {', '.join(columns)}"
        raise ValueError(text) from None
    return rows


def write_result(path: Path, config: RunConfig, measured: Mapping) -> None:
    """Write result.json: the configuration, what was measured, and the versions that did it."""
    content = {"config": config.decisive, **measured, "versions": versions()}
    write_text(path, result_text(content))


def result_text(content: Mapping) -> str:
    """The text of result.json."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def finished(results: Path, pattern: str = "*") -> list[Path]:
    """The paths, for `read_result`, of the finished runs of a folder and of its pack, by name.

    Args:
        results: The folder.
        pattern: What the name of a run's directory must match, as in a shell.

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


def check_owner(masks: Path, config: RunConfig) -> None:
    """Raise ValueError unless a mask file was made by the run of this configuration."""
    with np.load(masks, allow_pickle=False) as archive:
        owner = str(archive["__run"]) if "__run" in archive else "no run"
    if owner != config.directory.name:
        raise ValueError(f"mask file {masks} is that of {owner}, not of {config.directory.name}")


def versions() -> dict[str, str]:
    """What computed the result."""
    packages = {name: version(name) for name in ("numpy", "torch", "torchvision")}
    return {"python": platform.python_version(), **packages}


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold a run's directory, so that no second process works in it; freed even by a crash.

    Raises:
        BlockingIOError: If another process holds it.
        OSError: If it cannot be made.
    """
    import fcntl  # not on Windows, where the rest of the project can still be imported

    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another process is working on {directory}") from None
        yield
