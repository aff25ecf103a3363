"""`python -m benchmarks.nas FOLDER`: how well mean Synaptic Flow ranks NAS-Bench-201.

FOLDER has the accuracies and the published scores of all 15,625 cells, as docs/nas-details.md
describes.
"""

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from experiments.nas import bench201

DATASETS = {"cifar10": (32, 10), "cifar100": (32, 100), "ImageNet16-120": (16, 120)}
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Interval(NamedTuple):
    """A rank correlation and its interval of 95 %."""

    value: float
    half: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.half:.3f}"


def kendall(x: NDArray, y: NDArray, block: int = 250) -> Interval:
    """Return tau-b; its variance is that of the mean concordance of each item with the others."""
    items, ties_x, ties_y = np.empty(len(x)), 0, 0
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        one, other = (np.sign(v[part, None] - v[None]).astype(np.int8) for v in (x, y))
        items[part] = (one * other).sum(1, dtype=np.int64)
        ties_x, ties_y = ties_x + (one == 0).sum(), ties_y + (other == 0).sum()
    n = len(x)
    pairs = np.sqrt((n * n - ties_x) * (n * n - ties_y))
    return Interval(items.sum() / pairs, 1.96 * 2 * items.std() / np.sqrt(n) * n / pairs)


def ranks(x: NDArray) -> NDArray:
    """Return mean ranks, equal ones for ties."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def spearman(x: NDArray, y: NDArray) -> Interval:
    """Return rho; its interval is that of Bonett and Wright (2000)."""
    rho = np.corrcoef(ranks(x), ranks(y))[0, 1]
    error = np.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    return Interval(rho, 1.96 * error * (1 - rho**2))


def columns(path: Path) -> dict[str, list[str]]:
    """Return the columns of a CSV file by name."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def rankings(folder: Path, dataset: str) -> Iterator[tuple[str, NDArray, NDArray]]:
    """Yield the name of a proxy, its values and accuracies, from worst to best as it says."""
    by_cell = columns(folder / "nas_bench_201_by_cell.csv")
    by_index = columns(folder / "nas_bench_201_by_index.csv")
    assert by_cell["cell"] == [bench201.name(cell) for cell in bench201.CELLS]
    validation = np.array(by_cell[f"val_accuracy_{dataset}"], float)
    test = np.array(by_index[f"accuracy_{dataset}"], float)
    published, logarithmic, millions = (
        np.array(by_index[name], float)
        for name in (f"synflow_{dataset}", f"logsynflow_{dataset}", "params_m")
    )
    pixels, classes = DATASETS[dataset]
    flows = bench201.flows(pixels=pixels, classes=classes)
    parameters, products = bench201.sizes(pixels=pixels, classes=classes)
    score, mean = (np.where(np.isnan(v), -np.inf, v) for v in (flows.log_score, flows.log_R))
    yield "log of the mean score, ours; validation", score, validation
    yield "log E[R], ours; validation", mean, validation
    yield "parameters; validation", parameters, validation
    yield "multiplications (FLOPs / 2); validation", products, validation
    index = matched(bench201.sizes()[0], score, np.round(1e6 * millions), published)
    yield "log of the mean score, ours; test", score, test[index]
    yield "SynFlow, published; test", published, test
    yield "LogSynFlow, published; test", logarithmic, test
    yield "parameters; test", millions, test


def matched(sizes: NDArray, values: NDArray, other_sizes: NDArray, others: NDArray) -> NDArray:
    """Return for each network the place of the other one of its size and rank within that size."""
    index = np.empty(len(sizes), dtype=int)
    index[np.lexsort((values, sizes))] = np.lexsort((others, other_sizes))
    return index


def ordered(values: NDArray) -> NDArray:
    """Return ranks in place of values; minus infinity is the lowest.

    Values that differ by rounding only, below 1e-9, are ties.
    """
    finite = np.where(np.isfinite(values), values, np.min(values[np.isfinite(values)]) - 1)
    return ranks(np.round(finite, 9))


def correlations(values: NDArray, accuracy: NDArray) -> str:
    """Return both rank correlations as text."""
    place = ordered(values)
    return f"{kendall(place, accuracy)}; {spearman(place, accuracy)}"


@click.command()
@click.argument("folder", type=FOLDER)
def main(folder: Path) -> None:
    """Print the table of docs/nas.md, and the time of all cells."""
    start = time.process_time()
    flows = bench201.flows()
    seconds = time.process_time() - start
    click.echo(f"all {len(bench201.CELLS):,} cells: {seconds:.1f} s of one thread, ", nl=False)
    click.echo(f"{1000 * seconds / len(bench201.CELLS):.2f} ms each; ", nl=False)
    click.echo(f"{np.isnan(flows.log_R).sum()} have no path\n")
    click.echo(f"| tau-b; rho | {' | '.join(DATASETS)} |\n|---|---|---|---|")
    for proxy in zip(*(rankings(folder, dataset) for dataset in DATASETS)):
        found = (correlations(values, accuracy) for _, values, accuracy in proxy)
        click.echo(f"| {proxy[0][0]} | {' | '.join(found)} |")


if __name__ == "__main__":
    main()
