"""`python -m benchmarks growth`: time and memory against the number of weights."""

from pathlib import Path
from statistics import median

import click

from benchmarks.rounds import keep, machine, middle, options, ratio, rounds_of, table
from experiments.figures import style
from experiments.figures.canvas import SYNFLOW, save

EXPONENTS = (5, 5.5, 6, 6.5, 7, 7.5)
HEAD = "weights", "(b) s", "ns for a weight and step", "bytes for a weight", "(b) / (c)"
CAPTION = (
    "100 SynFlow steps to compression 100 of MLPs of three square layers, on {machine}: mean and "
    "range of {rounds} rounds. Dotted: proportional to the number of weights."
)


@click.command()
@options
@click.option("--figure", type=click.Path(dir_okay=False), help="Draw it into this file.")
@click.option("--quick", is_flag=True, help="The smallest two networks: to try the command.")
def growth(rounds, device, busy, file, figure, quick) -> None:
    """Measure time and memory of 100 steps for MLPs of 10^5 to 10^7.5 weights."""
    title = f"100 steps to compression 100, on {machine(device, busy)}; {rounds} rounds"
    kept = {}

    def rows():
        for exponent in EXPONENTS[:2] if quick else EXPONENTS:
            width = round((10**exponent / 3) ** 0.5)
            job = {"network": f"mlp-{width}", "device": device, "busy": busy}
            jobs = {name: job | {"method": name} for name in ("ours", "passes")}
            kept[3 * width**2] = runs = rounds_of(rounds, jobs)
            keep(file, title, kept)
            yield cells(3 * width**2, runs)

    table(title, HEAD, rows())
    if figure:
        draw(kept, CAPTION.format(machine=machine(device, busy), rounds=rounds), Path(figure))


def cells(N: int, runs: dict[str, list[dict]]) -> list[str]:
    """Format the row of a network of N weights."""
    seconds = middle(runs["ours"], "seconds")
    bytes_each = median(memory(runs["ours"])) * 2**20 / N
    per_weight = [f"{seconds / N * 1e7:.1f}", f"{bytes_each:.1f}"]
    return [f"{N:,}", f"{seconds:.3g}", *per_weight, ratio(runs["ours"], runs["passes"])]


def memory(runs: list[dict]) -> list[float]:
    """List the MiB of each run above those of the process with the model."""
    return [run["peak_mib"] - run["idle_mib"] for run in runs]


def draw(kept: dict[int, dict[str, list[dict]]], caption: str, path: Path) -> None:
    """Draw seconds, and MiB above the model, against weights, with lines of slope 1."""
    figure, (left, right) = style.panels(1, 2, (3.1, 2.5), caption)
    times = {N: [run["seconds"] for run in runs["ours"]] for N, runs in kept.items()}
    sizes = {N: memory(runs["ours"]) for N, runs in kept.items()}
    for axes, points, name in ((left, times, "seconds"), (right, sizes, "MiB above the model")):
        style.curve(axes, points.items(), style.Look(name, SYNFLOW, "D", "-"))
        last = max(points)
        line = [median(points[last]) * N / last for N in points]
        axes.plot(list(points), line, ls=":", color="#888888", lw=1)
        style.log(axes)
        style.labels(axes, "prunable weights", name)
    style.title(left, "Time")
    style.title(right, "Memory")
    save(figure, path)
