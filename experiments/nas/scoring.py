"""`score`: a table of the mean Synaptic Flow of architectures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from experiments.nas import bench201
from prune import architecture_flow
from train.data import known
from train.foreign import is_code
from train.models import build, input_shape

HEAD = f"{'log E[R]':>12}{'log score':>12}{'on a path':>11}{'deviation':>11}  architecture"


def lines(
    names: Sequence[str],
    dataset: str | None = None,
    width: float | None = None,
    mean_init: str = "paper",
    nas_bench_201: bool = False,
) -> list[str]:
    """Return the table of the architectures, or the cells of NAS-Bench-201 as CSV.

    Raises:
        ValueError: With one sentence that names the option or the architecture.
    """
    if nas_bench_201:
        if names or width is not None:
            raise ValueError("--nas-bench-201 takes no names and no --width")
        return list(cells(dataset or "cifar10", mean_init))
    if not names:
        raise ValueError("name an architecture, a file of names, or give --nas-bench-201")
    return list(table(named(names), dataset or "digits", 1 if width is None else width, mean_init))


def named(names: Sequence[str]) -> list[str]:
    """Return the names; a file stands for its lines, without empty ones."""
    found = []
    for name in names:
        path = Path(name)
        lines = path.read_text().splitlines() if path.is_file() else [name]
        found += [line.strip() for line in lines if line.strip()]
    return found


def table(names: Sequence[str], dataset: str, width: float, init: str) -> Iterator[str]:
    """Yield a line for each architecture.

    Raises:
        ValueError: If there is no such model, or its network cannot be read.
    """
    images = known(dataset)
    yield HEAD
    for name in names:
        shape = input_shape(name, images.shape)
        found = architecture_flow(_network(name, shape, images.classes, width), shape, init)
        if found.log_R is None:
            yield f"{'no path from input to output':>46}  {name}"
            continue
        least = "   at least: " + ", ".join(found.bounds) if found.bounds else ""
        yield (
            f"{found.log_R:12.4f}{found.log_score:12.4f}{found.path_length:11.3f}"
            f"{found.deviation:11.2%}  {name}{least}"
        )


def _network(name: str, shape: tuple[int, int, int], classes: int, width: float) -> nn.Module:
    """Return the network: without weights, but for a user's factory, which may need them."""
    with torch.device("cpu" if is_code(name) else "meta"):
        return build(name, shape, classes, width)


def cells(dataset: str, init: str) -> Iterator[str]:
    """Yield all 15,625 cells as CSV.

    Raises:
        ValueError: If the images are not square with three channels.
    """
    channels, height, width = known(dataset).shape
    if (channels, height) != (3, width):
        raise ValueError(f"--nas-bench-201 needs square images of three channels, not {dataset}")
    flows = bench201.flows(pixels=height, classes=known(dataset).classes, init=init)
    yield "cell,log_mean_R,log_mean_score,path_length"
    rows = zip(bench201.CELLS, flows.log_R, flows.log_score, flows.path_length)
    for cell, log_R, log_score, length in rows:
        numbers = f"{log_R:.6f},{log_score:.6f},{length:.6f}" if log_R == log_R else "no path,,"
        yield f"{bench201.name(cell)},{numbers}"
