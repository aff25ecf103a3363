"""Pack the finished runs of a results folder into two files, and unpack single runs.

    python -m experiments.runs.pack results/laptop

adds result.json and history.csv of every run folder in results/laptop to `runs.jsonl` and
`histories.csv` there. Commands read these two files like the run folders themselves (`packed.py`).
Each file is first compared, byte for byte, with the text that the pack will give back. Nothing is
deleted and nothing is printed. Afterwards a run folder is needed only for its masks and weights.
"""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from experiments.runs import files, packed

Row = Mapping[str, str]


def pack(folder: Path) -> list[str]:
    """Write the pack of a folder: the runs packed before, and those that have a folder here.

    A run's own folder replaces what was packed of it. Equal runs give equal files.

    Returns:
        The names of all packed runs, sorted.

    Raises:
        FileNotFoundError: If there is no finished run.
        ValueError: If a file or a line is damaged, or the pack could not give a file back byte
            for byte. The folder then keeps the pack that it had.
    """
    for sentence in packed.nameless(folder):
        raise ValueError(sentence)
    runs = [path.parent for path in files.finished(folder)]
    if not runs:
        raise FileNotFoundError(f"no finished run is in {folder}")
    before = packed.histories(folder, files.HISTORY_COLUMNS)
    results = {run.name: files.read_result(run / files.RESULT) for run in runs}
    histories = {run.name: _history(run, before) for run in runs}
    for run in runs:
        _compare(run, unpacked(results[run.name], histories[run.name]))
    rows = [{packed.RUN: name} | row for name in results for row in histories[name]]
    lines = [json.dumps({packed.RUN: name, **content}) for name, content in results.items()]
    table = _table([packed.RUN, *files.HISTORY_COLUMNS], rows)
    files.write_text(folder / packed.HISTORIES, table)  # before the lines that rely on it
    files.write_text(folder / packed.RUNS, "".join(line + "\n" for line in lines))
    return list(results)


def unpack(directory: Path) -> bool:
    """Write the files of a packed run into its directory, unless its result is there.

    Returns:
        Whether the directory now has a result: the run is finished.

    Raises:
        ValueError: If its lines of the pack are damaged.

    Warns:
        PassedOver: For each line of the pack that may be its own.
    """
    path, folder = directory / files.RESULT, directory.parent
    if path.exists():
        return True
    if directory.name not in packed.names(folder):
        files.pass_over_nameless(folder)
        return False
    result = files.read_result(path)
    history = packed.history(folder, files.HISTORY_COLUMNS, directory.name)
    directory.mkdir(exist_ok=True)
    for name, text in unpacked(result, history).items():
        files.write_text(directory / name, text)
    return True


def unpacked(result: Mapping, history: Sequence[Row]) -> dict[str, str]:
    """The files of a run, name -> text; result.json, the mark of a finished run, comes last."""
    table = {files.HISTORY: _table(files.HISTORY_COLUMNS, history)} if history else {}
    return table | {files.RESULT: files.result_text(result)}


def _history(run: Path, before: Mapping[str, list[Row]]) -> list[Row]:
    """The rows of a finished run's own history.csv or, if it has none, of the pack."""
    own = [run / name for name in (files.RESULT, files.HISTORY)]
    if all(path.exists() for path in own):
        return files.read_rows(run / files.HISTORY, files.HISTORY_COLUMNS)
    return before.get(run.name, [])


def _compare(run: Path, texts: Mapping[str, str]) -> None:
    """Raise ValueError if a finished run has files of its own, and with another text."""
    if not (run / files.RESULT).exists():
        return
    for path in (run / files.RESULT, run / files.HISTORY):
        if path.exists() and path.read_bytes() != texts.get(path.name, "").encode():
            raise ValueError(f"{path} cannot be packed: it is not as `run` writes it")


def _table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """The text of a CSV, as `files.write_rows` writes it."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def main(folders: Sequence[str]) -> None:
    """Pack each of the folders."""
    if not folders:
        sys.exit("usage: python -m experiments.runs.pack RESULTS-FOLDER ...")
    try:
        for folder in folders:
            pack(Path(folder))
    except (OSError, ValueError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
