"""Read the pack of a results folder: two files that hold the results and histories of its runs.

`runs.jsonl` has one line for each run: {"run": the name of its directory, ...}, followed by the
content of its result.json. `histories.csv` has the rows of all history.csv, each behind the name
of its run. `experiments/runs/pack.py` writes both. `read_result` uses a pack for runs that have no
result.json of their own.
"""

import csv
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isfinite
from pathlib import Path

RUNS, HISTORIES = "runs.jsonl", "histories.csv"
RUN = "run"  # the key, and the column, with the name of the run's directory


def names(folder: Path) -> set[str]:
    """The names of the packed runs; none where the folder has no pack.

    Raises:
        ValueError: If the pack is damaged; names the file and the line.
    """
    return set(_lines(folder))


def result(directory: Path, check: Callable[[dict], None]) -> dict:
    """Read the result of a packed run, as its result.json would give it.

    Args:
        directory: Of the run; it need not exist.
        check: Raises ValueError, with the reason, if the content is not a result of this run.

    Raises:
        FileNotFoundError: If the pack of the folder lacks this run.
        ValueError: If the pack is damaged; names the file and the line.
    """
    folder, name = directory.absolute().parent, directory.absolute().name  # it may be "."
    lines = _lines(folder)
    if name not in lines:
        text = f"{directory / 'result.json'} does not exist: no finished run is in {directory}"
        raise FileNotFoundError(text)
    number, line = lines[name]
    content = json.loads(line)
    del content[RUN]
    try:
        check(content)
    except ValueError as error:
        raise ValueError(f"{folder / RUNS} is damaged in line {number}: {error}") from None
    return content


def histories(folder: Path, columns: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Map the name of each packed run that was trained to the rows of its history.csv.

    Raises:
        FileNotFoundError: If the folder has `runs.jsonl` without `histories.csv`.
        ValueError: If the pack is damaged; names the file and the line.
    """
    if not (folder / RUNS).is_file():
        return {}
    path = folder / HISTORIES
    found: dict[str, list[dict[str, str]]] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(True) or [""], 1):
        try:
            row = _row(line, [RUN, *columns], number)
        except (ValueError, csv.Error):
            text = f"a run and a number in each of {', '.join(columns)}"
            raise ValueError(f"{path} is damaged in line {number}: it should have {text}") from None
        if number > 1:
            found.setdefault(row.pop(RUN), []).append(row)
    return found


def _row(line: str, columns: Sequence[str], number: int) -> dict[str, str]:
    """Split a line of histories.csv; line 1 is the header.

    Raises:
        ValueError: If the line is damaged.
        csv.Error: If its quotes are.
    """
    (cells,) = csv.reader([line], strict=True)
    row = dict(zip(columns, cells, strict=True))
    right = cells == columns if number == 1 else all(isfinite(float(n or 0)) for n in cells[1:])
    if not right or not line.endswith("\n"):
        raise ValueError
    return row


def _lines(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Map the name of each packed run to the number and the content of its line."""
    path = folder / RUNS
    if not path.is_file():
        return {}
    status = path.stat()
    return _indexed(path, (status.st_ino, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=8)
def _indexed(path: Path, version: tuple[int, ...]) -> dict[str, tuple[int, bytes]]:
    """The lines by name; a `version` of the file is parsed once per process."""
    found: dict[str, tuple[int, bytes]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            name = json.loads(line)[RUN]
            if not isinstance(name, str) or name in found or not line.endswith(b"\n"):
                raise ValueError
        except (ValueError, TypeError, KeyError, RecursionError):
            text = f'it should be one result as JSON with a name of its own as "{RUN}"'
            raise ValueError(f"{path} is damaged in line {number}: {text}") from None
        found[name] = number, line
    return found
