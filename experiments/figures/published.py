"""The paper's published numbers, which the figures draw beside ours."""

import csv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "published"


def published_rows(name: str) -> list[dict[str, str]]:
    """Read the rows of `published/NAME.csv`; published/README.md describes each file."""
    with open(FOLDER / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))
