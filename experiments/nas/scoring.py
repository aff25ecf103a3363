"""`score`: a table of the mean Synaptic Flow of architectures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.nas import bench201
from prune import architecture_flow
from train.data import known
from train.foreign import is_code
from train.models import build, input_shape

CELLS_HEAD = "cell,log_mean_R,log_mean_score,path_length"
HEAD = f"{'log E[R]':>12}{'log score':>12}{'on a path':>11}{'deviation':>11}  architecture"


def score(
    names: Sequence[str],
    dataset: str | None = None,
    width: float | None = None,
    mean_init: str = "paper",
    nas_bench_201: bool = False,
) -> tuple[list[dict], list[str]]:
    """Score the architectures, or the cells of NAS-Bench-201.

    Returns:
        The numbers of each, and the lines of a table or, of the cells, of a CSV.

    Raises:
        ValueError: With one sentence that names the option or the architecture.
    """
    if nas_bench_201:
        if names or width is not None:
            raise ValueError("--nas-bench-201 takes no names and no --width")
        rows = list(cells(dataset or "cifar10", mean_init))
        return rows, [CELLS_HEAD, *map(cell_line, rows)]
    if not names:
        raise ValueError("name an architecture, a file of names, or give --nas-bench-201")
    width = 1 if width is None else width
    rows = list(architectures(named(names), dataset or "digits", width, mean_init))
    return rows, [HEAD, *map(line, rows)]


def named(names: Sequence[str]) -> list[str]:
    """Return the names; a file stands for its lines, without empty ones."""
    found = []
    for name in names:
        path = Path(name)
        lines = path.read_text().splitlines() if path.is_file() else [name]
        found += [line.strip() for line in lines if line.strip()]
    return found


def architectures(names: Sequence[str], dataset: str, width: float, init: str) -> Iterator[dict]:
    """Yield the numbers of each architecture; `log_R` is None where no path leads to the output.

    Raises:
        ValueError: If there is no such model, or its network cannot be read.
    """
    images = known(dataset)
    for name in names:
        shape = input_shape(name, images.shape)
        found = architecture_flow(_network(name, shape, images.classes, width), shape, init)
        row = {"architecture": name, "log_R": found.log_R}
        if found.log_R is not None:
            row |= {n: getattr(found, n) for n in ("log_score", "path_length", "deviation")}
        yield row | {"bounds": found.bounds}


def line(row: dict) -> str:
    """The line of the table for one architecture."""
    name = row["architecture"]
    if row["log_R"] is None:
        return f"{'no path from input to output':>46}  {name}"
    least = "   at least: " + ", ".join(row["bounds"]) if row["bounds"] else ""
    return (
        f"{row['log_R']:12.4f}{row['log_score']:12.4f}{row['path_length']:11.3f}"
        f"{row['deviation']:11.2%}  {name}{least}"
    )


def _network(name: str, shape: tuple[int, int, int], classes: int, width: float) -> nn.Module:
    """Return the network: without weights, but for a user's factory, which may need them."""
    with torch.device("cpu" if is_code(name) else "meta"):
        return build(name, shape, classes, width)


def cells(dataset: str, init: str) -> Iterator[dict]:
    """Yield the numbers of all 15,625 cells; they are None where no path leads to the output.

    Raises:
        ValueError: If the images are not square with three channels.
    """
    channels, height, width = known(dataset).shape
    if (channels, height) != (3, width):
        raise ValueError(f"--nas-bench-201 needs square images of three channels, not {dataset}")
    flows = bench201.flows(pixels=height, classes=known(dataset).classes, init=init)
    names = CELLS_HEAD.split(",")
    columns = (flows.log_R, flows.log_score, flows.path_length)
    for cell, *numbers in zip(bench201.CELLS, *map(np.ndarray.tolist, columns)):
        open_path = numbers[0] == numbers[0]  # else it is no number
        yield dict(zip(names, [bench201.name(cell), *(numbers if open_path else [None] * 3)]))


def cell_line(row: dict) -> str:
    """The line of the CSV for one cell."""
    cell, *numbers = row.values()
    return f"{cell},no path,," if None in numbers else f"{cell},{_joined(numbers)}"


def _joined(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:.6f}" for number in numbers)
