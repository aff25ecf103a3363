"""Write reference/README.md as a Jupyter notebook: `python -m docs.notebook FILE.ipynb`."""

import doctest
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "reference/README.md"
FENCE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
START = "%cd {}\n# Run this notebook from the top: its cells build on each other."


def cell(kind: str, text: str) -> dict:
    """One cell of a notebook, without output."""
    made = {"cell_type": kind, "metadata": {}, "source": text.strip("\n").splitlines(keepends=True)}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def code(block: str) -> list[str]:
    """Split a block at its outputs, since a cell shows the value of its last line only."""
    cells = [""]
    for example in doctest.DocTestParser().get_examples(block):
        cells[-1] += example.source
        if example.want:
            cells.append("")
    return [text for text in cells if text]


def cells(page: str) -> list[dict]:
    """Turn a page into cells: text, and the `>>>` lines without their outputs."""
    made, end = [], 0
    for match in FENCE.finditer(page):
        if ">>>" not in match[1]:
            continue
        made += [cell("markdown", page[end : match.start()])]
        made += [cell("code", text) for text in code(match[1])]
        end = match.end()
    return [*made, cell("markdown", page[end:])]


def notebook(folder: Path) -> dict:
    """Make the notebook as it stands in a folder, from which its links and pictures are found."""
    up = os.path.relpath(PAGE.parent, folder)
    text = re.sub(r"\]\((?!\w+:|#)", f"]({Path(up).as_posix()}/", PAGE.read_text())
    start = cell("code", START.format(Path(os.path.relpath(ROOT, folder)).as_posix()))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {
        "cells": [start, *cells(text)],
        "metadata": kernel,
        "nbformat": 4,
        "nbformat_minor": 4,
    }


if __name__ == "__main__":
    path = Path(sys.argv[1]).resolve()
    path.write_text(json.dumps(notebook(path.parent), indent=1) + "\n")
