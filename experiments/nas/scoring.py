"""`score`: a table of the mean Synaptic Flow of architectures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from experiments.nas import bench201, inits
from prune import architecture_flow
from prune.architecture import ArchitectureFlow
from train.data import Dataset, known
from train.foreign import is_code
from train.models import build, input_shape

HEAD = f"{'log E[R]':>12}{'log score':>12}{'on a path':>11}{'deviation':>11}"
DRAWN = f"{'log of mean':>13}{'deviation':>11}"  # of the draws
TAIL = "  architecture"


class Table(NamedTuple):
    """The options of a table; `draws` is 0 for none."""

    images: Dataset
    width: float
    init: str
    draws: int

    @property
    def head(self) -> str:
        return HEAD + (DRAWN if self.draws else "") + TAIL


def lines(
    names: Sequence[str],
    dataset: str | None = None,
    width: float | None = None,
    mean_init: str = "paper",
    draws: int | None = None,
    nas_bench_201: bool = False,
) -> list[str]:
    """Return the table of the architectures, or the cells of NAS-Bench-201 as CSV.

    Raises:
        ValueError: With one sentence that names the option or the architecture.
    """
    if nas_bench_201:
        if names or width is not None or draws is not None:
            raise ValueError("--nas-bench-201 takes no names, no --width and no --draws")
        return list(cells(dataset or "cifar10", mean_init))
    if not names:
        raise ValueError("name an architecture, a file of names, or give --nas-bench-201")
    images = known(dataset or "digits")
    table = Table(images, 1 if width is None else width, mean_init, draws or 0)
    return [table.head, *(row(name, table) for name in named(names))]


def named(names: Sequence[str]) -> list[str]:
    """Return the names; a file stands for its lines, without empty ones."""
    found = []
    for name in names:
        path = Path(name)
        lines = path.read_text().splitlines() if path.is_file() else [name]
        found += [line.strip() for line in lines if line.strip()]
    return found


def row(name: str, table: Table) -> str:
    """Return the line of an architecture.

    Raises:
        ValueError: If there is no such model, or its network cannot be read.
    """
    images, shape = table.images, input_shape(name, table.images.shape)
    # without weights, but for draws and for a user's factory, which may need them
    with torch.device("cpu" if table.draws or is_code(name) else "meta"):
        network = build(name, shape, images.classes, table.width)
    found = architecture_flow(network, shape, inits.moments(table.init, name, network))
    if found.log_R is None:
        return f"{'no path from input to output':>{len(table.head) - len(TAIL)}}  {name}"
    drawn = ""
    if table.draws:
        log_mean, deviation = inits.drawn_flow(table.init, name, network, shape, table.draws)
        drawn = f"{log_mean:13.4f}{deviation:11.2%}"
    return (
        f"{found.log_R:12.4f}{found.log_score:12.4f}{found.path_length:11.3f}"
        f"{deviation_of(found):>11}{drawn}  {name}{reasons(found)}"
    )


def reasons(found: ArchitectureFlow) -> str:
    """Return text that says why the mean is a lower bound, or only near, and "" if it is exact."""
    why = ", ".join(found.bounds + found.orders)
    return f"   {'near' if found.orders else 'at least'}: {why}" if why else ""


def deviation_of(found: ArchitectureFlow) -> str:
    """Return the deviation as text: exact, at least (>), or near it (~) where R is not linear."""
    mark = "" if found.exact else "~" if found.bounds or found.orders else ">"
    return f"{mark}{found.deviation:.2%}"


def cells(dataset: str, init: str) -> Iterator[str]:
    """Yield all 15,625 cells as CSV.

    Raises:
        ValueError: If the images are not square with three channels.
    """
    channels, height, width = known(dataset).shape
    if (channels, height) != (3, width):
        raise ValueError(f"--nas-bench-201 needs square images of three channels, not {dataset}")
    init = inits.OF_NAS_BENCH_201.get(init, init)
    flows = bench201.flows(pixels=height, classes=known(dataset).classes, init=init)
    yield "cell,log_mean_R,log_mean_score,path_length"
    rows = zip(bench201.CELLS, flows.log_R, flows.log_score, flows.path_length)
    for cell, log_R, log_score, length in rows:
        numbers = f"{log_R:.6f},{log_score:.6f},{length:.6f}" if log_R == log_R else "no path,,"
        yield f"{bench201.name(cell)},{numbers}"
