"""`score`: a table of the mean Synaptic Flow of architectures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from experiments.nas import bench201, inits
from prune import architecture_flow
from train.data import known
from train.foreign import is_code
from train.models import build, input_shape

CELLS_HEAD = "cell,log_mean_R,log_mean_score,path_length"
HEAD = f"{'log E[R]':>12}{'log score':>12}{'on a path':>11}{'deviation':>11}"
DRAWN = f"{'log of mean':>13}{'deviation':>11}"  # of the draws
TAIL = "  architecture"


def score(
    names: Sequence[str],
    dataset: str | None = None,
    width: float | None = None,
    mean_init: str = "paper",
    draws: int | None = None,
    nas_bench_201: bool = False,
) -> tuple[list[dict], list[str]]:
    """Score the architectures, or the cells of NAS-Bench-201.

    Returns:
        The numbers of each, and the lines of a table or, of the cells, of a CSV.

    Raises:
        ValueError: With one sentence that names the option or the architecture.
    """
    if nas_bench_201:
        if names or width is not None or draws is not None:
            raise ValueError("--nas-bench-201 takes no names, no --width and no --draws")
        rows = list(cells(dataset or "cifar10", mean_init))
        return rows, [CELLS_HEAD, *map(cell_line, rows)]
    if not names:
        raise ValueError("name an architecture, a file of names, or give --nas-bench-201")
    width = 1 if width is None else width
    rows = list(architectures(named(names), dataset or "digits", width, mean_init, draws))
    return rows, [HEAD + (DRAWN if draws else "") + TAIL, *map(line, rows)]


def named(names: Sequence[str]) -> list[str]:
    """Return the names; a file stands for its lines, without empty ones."""
    found = []
    for name in names:
        path = Path(name)
        lines = path.read_text().splitlines() if path.is_file() else [name]
        found += [line.strip() for line in lines if line.strip()]
    return found


def architectures(
    names: Sequence[str], dataset: str, width: float, init: str, draws: int | None = None
) -> Iterator[dict]:
    """Yield the numbers of each architecture; `log_R` is None where no path leads to the output.

    Raises:
        ValueError: If there is no such model, or its network cannot be read.
    """
    images = known(dataset)
    for name in names:
        shape = input_shape(name, images.shape)
        # without weights, but for draws and for a user's factory, which may need them
        with torch.device("cpu" if draws or is_code(name) else "meta"):
            network = build(name, shape, images.classes, width)
        found = architecture_flow(network, shape, inits.moments(init, name, network))
        row = {"architecture": name, "log_R": found.log_R}
        if found.log_R is not None:
            row |= {n: getattr(found, n) for n in ("log_score", "path_length", "deviation")}
            if draws:
                pair = inits.drawn_flow(init, name, network, shape, draws)
                row |= dict(zip(("drawn_log_mean", "drawn_deviation"), pair))
        yield row | {"exact": found.exact, "bounds": found.bounds, "orders": found.orders}


def line(row: dict) -> str:
    """The line of the table for one architecture."""
    name = row["architecture"]
    if row["log_R"] is None:
        return f"{'no path from input to output':>{len(HEAD)}}  {name}"
    drawn = ""
    if "drawn_deviation" in row:
        drawn = f"{row['drawn_log_mean']:13.4f}{row['drawn_deviation']:11.2%}"
    return (
        f"{row['log_R']:12.4f}{row['log_score']:12.4f}{row['path_length']:11.3f}"
        f"{deviation(row):>11}{drawn}  {name}{reasons(row)}"
    )


def reasons(row: dict) -> str:
    """The text that says why the mean is a lower bound, or only near, and "" if it is exact."""
    why = ", ".join(row["bounds"] + row["orders"])
    return f"   {'near' if row['orders'] else 'at least'}: {why}" if why else ""


def deviation(row: dict) -> str:
    """The deviation as text: exact, at least (>), or near it (~) where R is not linear."""
    mark = "" if row["exact"] else "~" if row["bounds"] or row["orders"] else ">"
    return f"{mark}{row['deviation']:.2%}"


def cells(dataset: str, init: str) -> Iterator[dict]:
    """Yield the numbers of all 15,625 cells; they are None where no path leads to the output.

    Raises:
        ValueError: If the images are not square with three channels.
    """
    channels, height, width = known(dataset).shape
    if (channels, height) != (3, width):
        raise ValueError(f"--nas-bench-201 needs square images of three channels, not {dataset}")
    init = inits.OF_NAS_BENCH_201.get(init, init)
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
