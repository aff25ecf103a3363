"""Cells: the pieces in which a figure's numbers are computed, one small JSON file each."""

import json
from pathlib import Path

from experiments.config import RunConfig
from experiments.figures.collect import name
from experiments.runs.build import probe_shape
from experiments.runs.files import write_text


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


def nothing(config: RunConfig, number: int | str) -> FileNotFoundError:
    """The error of a figure that has no cell to draw."""
    return FileNotFoundError(
        f"nothing is computed for figure {number} in {folder(config)}; "
        f"`python cli.py figure {number} --compute` does it, and goes on where it was interrupted"
    )


def comparable(config: RunConfig) -> bool:
    """Whether this is the network that the paper shows in Figs 2, 3, 4 and 7."""
    network = (config.model, config.dataset, config.init, config.width)
    return network == ("vgg19-plain", "imagenet", "published", 1)


def title(config: RunConfig) -> str:
    """The network in words."""
    pixels = probe_shape(config)[1]
    return f"{name(config.model, config.width, config.dataset)} ({pixels} px)"
