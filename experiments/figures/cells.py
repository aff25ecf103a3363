"""Cells: small JSON files, each with a part of a figure's numbers.

A cell is saved as soon as it is computed, so an interrupted computation continues with the next.
"""

import json
from pathlib import Path

from experiments.config import RunConfig, in_file_names
from experiments.figures import collect
from experiments.runs.build import probe_shape
from experiments.runs.files import write_text

INITIAL = "initial"  # the folder, in a results folder, for networks at initialisation


def folder(config: RunConfig) -> Path:
    """Name the folder for the cells of this network at initialisation."""
    model, dataset = in_file_names(config.model), in_file_names(config.dataset)
    network = f"{model}-{dataset}-{config.init}-width{config.width:g}-seed{config.seed}"
    return Path(config.results).absolute() / INITIAL / network


def save(path: Path, cell: dict) -> None:
    """Write a cell, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(cell, allow_nan=False) + "\n")


def load(path: Path) -> dict | None:
    """Read a cell; None if it is not computed yet.

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
    """Make the error for a figure without saved cells."""
    error = FileNotFoundError(f"nothing is computed for figure {number} in {folder(config)}")
    error.remedy = f"figure {number} --compute"
    return error


def comparable(config: RunConfig) -> bool:
    """Test for the network of the paper's Figs 2, 3, 4 and 7."""
    network = (config.model, config.dataset, config.init, config.width)
    return network == ("vgg19-plain", "imagenet", "published", 1)


def title(config: RunConfig) -> str:
    """Name the network, its data set and the size of its inputs."""
    pixels = probe_shape(config)[1]
    return f"{collect.name(config.model, config.width, config.dataset)} ({pixels} px)"
