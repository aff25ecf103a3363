"""The paper's published numbers, which the figures draw beside ours."""

import csv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "published"


def published_rows(name: str) -> list[dict[str, str]]:
    """Read the rows of `published/NAME.csv`; published/README.md describes each file.

    Their GraSP is that of the text, and so is `grasp-text` here.
    """
    with open(FOLDER / f"{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    text = {"pruner": "grasp-text"}
    return [row | text if row.get("pruner") == "grasp" else row for row in rows]
