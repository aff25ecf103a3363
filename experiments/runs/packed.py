"""Read the pack of a results folder: two files that hold the results and histories of its runs.

`runs.jsonl` has one line for each run: {"run": the name of its directory, ...}, followed by the
content of its result.json. `histories.csv` has the rows of all history.csv, each behind the name
of its run. `experiments/runs/pack.py` writes both. `read_result` uses a pack for runs that have no
result.json of their own. A damaged line concerns its own run only.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import isfinite
from pathlib import Path

from experiments.runs.owners import parsed

RUNS, HISTORIES = "runs.jsonl", "histories.csv"
RUN = "run"  # the key, and the column, with the name of the run's directory
BEGINNING = re.compile(rb'\{"run": ("(?:[^"\\]|\\.)+")')  # of each line of runs.jsonl
LINE = f'it should be one result as JSON with a name of its own as "{RUN}"'
Row = dict[str, str]


def names(folder: Path) -> set[str]:
    """The names of the packed runs, also of damaged ones; none where the folder has no pack."""
    return {name for name in _lines(folder) if name}


def nameless(folder: Path) -> list[str]:
    """A sentence on each line that is too damaged to name its run."""
    return [_sentence(folder, number, LINE) for number, _ in _lines(folder).get("", [])]


def result(directory: Path, check: Callable[[dict], None]) -> dict:
    """Read the result of a packed run, as its result.json would give it.

    Args:
        directory: Of the run; it need not exist.
        check: Raises ValueError, with the reason, if the content is not a result of this run.

    Raises:
        FileNotFoundError: If the pack of the folder lacks this run.
        ValueError: If its line is damaged; names the file and the line.
    """
    folder, name = directory.absolute().parent, directory.absolute().name  # it may be "."
    lines = _lines(folder).get(name)
    if not lines:
        text = f"{directory / 'result.json'} does not exist: no finished run is in {directory}"
        raise FileNotFoundError(text)
    number, line = lines[-1]
    try:
        content = _content(line, alone=len(lines) == 1)
        check(content)
    except ValueError as error:
        raise ValueError(_sentence(folder, number, str(error))) from None
    return content


def histories(folder: Path, columns: Sequence[str]) -> dict[str, list[Row]]:
    """Map the name of each packed run that was trained to the rows of its history.csv.

    Raises:
        FileNotFoundError: If the folder has `runs.jsonl` without `histories.csv`.
        ValueError: If a line is damaged; names the file and the line.
    """
    found: dict[str, list[Row]] = {}
    if (folder / RUNS).is_file():
        lines = _history_lines(folder)
        for row in _rows(folder, columns, lines, range(len(lines))):
            found.setdefault(row.pop(RUN), []).append(row)
    return found


def history(folder: Path, columns: Sequence[str], run: str) -> list[Row]:
    """The rows of the history.csv of a packed run; none if it was not trained.

    Raises:
        FileNotFoundError: If the folder has `runs.jsonl` without `histories.csv`.
        ValueError: If one of its lines is damaged, or one beside them that may be its own.
    """
    lines, others = _history_lines(folder), {_cell(name) for name in names(folder) - {run}}
    own = [i for i, line in enumerate(lines) if line.startswith(_cell(run))]
    near = range(own[0] - 1, min(own[-1] + 2, len(lines))) if own else range(len(lines))
    near = [i for i in near if f"{lines[i].partition(',')[0]}," not in others]
    return [row for row in _rows(folder, columns, lines, near) if row.pop(RUN) == run]


def _history_lines(folder: Path) -> list[str]:
    return (folder / HISTORIES).read_text(errors="replace").splitlines(True) or [""]


def _cell(run: str) -> str:
    """The beginning of the lines of a run in histories.csv."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator=",").writerow([run])
    return stream.getvalue()


def _rows(
    folder: Path, columns: Sequence[str], lines: Sequence[str], which: Sequence[int]
) -> Iterator[Row]:
    """The rows of these lines of histories.csv, counted from 0, without the header."""
    known = names(folder)
    for i in which:
        try:
            row = _row(lines[i], [RUN, *columns], header=i == 0)
            if i and row[RUN] not in known:
                raise ValueError
        except (ValueError, csv.Error):
            text = f"a packed run and a number in each of {', '.join(columns)}"
            place = f"{folder / HISTORIES} is damaged in line {i + 1}"
            raise ValueError(f"{place}: it should have {text}") from None
        if i:
            yield row


def _row(line: str, columns: Sequence[str], header: bool) -> Row:
    """Split a line of histories.csv.

    Raises:
        ValueError: If the line is damaged.
        csv.Error: If its quotes are.
    """
    (cells,) = csv.reader([line], strict=True)
    row = dict(zip(columns, cells, strict=True))
    right = cells == columns if header else all(isfinite(float(n or 0)) for n in cells[1:])
    if not right or not line.endswith("\n"):
        raise ValueError
    return row


def _content(line: bytes, alone: bool) -> dict:
    """The content of a line of runs.jsonl without the name, `alone` if no other has the name."""
    try:
        if not alone or not line.endswith(b"\n"):
            raise ValueError
        content = parsed(line)
    except ValueError:
        raise ValueError(LINE) from None
    del content[RUN]
    return content


def _sentence(folder: Path, number: int, reason: str) -> str:
    place = f"{folder / RUNS} is damaged in line {number}"
    return f"{place}: {reason}; delete the line to make its run again"


def _lines(folder: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Map the name of each packed run to the number and the content of its line.

    A run that is packed twice has two; all lines without a name are those of "".
    """
    path = folder / RUNS
    if not path.is_file():
        return {}
    status = path.stat()
    return _indexed(path, (status.st_ino, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=8)
def _indexed(path: Path, version: tuple[int, ...]) -> dict[str, list[tuple[int, bytes]]]:
    """The lines by name; a `version` of the file is read once per process."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        found.setdefault(_name(line), []).append((number, line))
    return found


def _name(line: bytes) -> str:
    """The name of a line's run; "" if it has none."""
    beginning = BEGINNING.match(line)
    try:
        return json.loads(beginning[1]) if beginning else ""
    except ValueError:
        return ""
