"""Cells: the pieces in which a figure's numbers are computed, one small JSON file each."""

import json
from pathlib import Path

from experiments.config import RunConfig
from experiments.results import write_text


def folder(config: RunConfig) -> Path:
    """Where the cells of this network at initialisation are kept."""
    model = config.model.replace(":", "-").replace("/", "-")
    name = f"{model}-{config.dataset}-{config.init}-width{config.width:g}-seed{config.seed}"
    return Path(config.results).absolute() / "initial" / name


def save(path: Path, cell: dict) -> None:
    """Write a cell whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(cell, allow_nan=False) + "\n")


def load(path: Path) -> dict | None:
    """Read a cell, None if it is not computed yet.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"cell {path} is damaged ({error}); delete it to compute it again"
        ) from None
