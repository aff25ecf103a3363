"""`python -m benchmarks COMMAND`: how fast pruning is, as ratios of times measured side by side.

Contenders take turns for some rounds, and a ratio is of two times of the same round: what else the
machine does disturbs both, and min, median and max over the rounds show how much.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

from benchmarks.turns import ROOT, machine, measured, middle, ratio, rounds_of
from prune import load_masks

NETWORKS = ("mlp", "vgg16", "resnet18", "vgg19", "resnet50")


def options(command):
    """Those that every comparison has."""
    rounds = click.option("--rounds", default=3, show_default=True, help="Turns of each.")
    device = click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
    busy = click.option(
        "--busy",
        is_flag=True,
        help="One thread each, and its processor time: for a machine that has other work, too.",
    )
    return rounds(device(busy(command)))


def table(title: str, head: str, rows: list[list]) -> None:
    """Print a Markdown table."""
    click.echo(f"\n{title}\n\n| {head} |\n|{'---|' * (head.count('|') + 1)}")
    for row in rows:
        click.echo("| " + " | ".join(map(str, row)) + " |")


@click.group()
def main() -> None:
    """How fast pruning is, as ratios of times measured side by side."""


@main.command()
@options
@click.option("--networks", default=",".join(NETWORKS), show_default=True, help="Some of these.")
@click.option("--steps", default=100, show_default=True)
@click.option("--compression", default=100.0, show_default=True)
@click.option("--check", is_flag=True, help="Compare masks with (a) in float64: slow.")
def synflow(rounds, device, busy, networks, steps, compression, check) -> None:
    """SynFlow: (a) literal in float32, (b) ours in float64, (c) as many plain float64 passes."""
    rows = []
    for name in networks.split(","):
        job = {
            "network": name,
            "steps": steps,
            "compression": compression,
            "device": device,
            "busy": busy,
        }
        runs = rounds_of(
            rounds,
            {
                "a": job | {"contender": "literal", "dtype": "float32"},
                "b": job | {"contender": "ours"},
                "c": job | {"contender": "passes"},
            },
        )
        row = [name, ratio(runs["b"], runs["c"]), ratio(runs["a"], runs["b"])]
        row += [f"{middle(runs[k], 'seconds'):.3g}" for k in "abc"]
        row += [f"{middle(runs[k], 'peak_mib'):.0f}" for k in "abc"]
        rows.append(row + (checked(job) if check else []))
    more = " | (a) float64 MiB | weights that differ" if check else ""
    table(
        f"SynFlow, {steps} steps to compression {compression:g}, on {machine(device, busy)}; "
        f"{rounds} rounds, ratios as min / median / max",
        "network | (b) / (c) | (a) / (b) | (a) s | (b) s | (c) s | (a) MiB | (b) MiB | (c) MiB"
        + more,
        rows,
    )


def checked(job: dict) -> list:
    """Memory of (a) in float64, and in how many weights its masks differ from ours."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: f"{folder}/{name}.npz" for name in ("literal", "ours")}
        runs = {n: measured(**job, contender=n, masks=path) for n, path in paths.items()}
        literal, ours = (load_masks(path) for path in paths.values())
    differ = sum(int((literal[name] != ours[name]).sum()) for name in ours)
    kept = sum(int(mask.sum()) for mask in ours.values())
    return [f"{runs['literal']['peak_mib']:.0f}", f"{differ} of {kept}"]


@main.command()
@options
@click.option("--network", default="vgg16", show_default=True)
@click.option("--compression", default=100.0, show_default=True)
def certified(rounds, device, busy, network, compression) -> None:
    """The certified schedule: steps, time, and overlap with the masks of 100 steps."""
    job = {"network": network, "compression": compression, "device": device, "busy": busy}
    with tempfile.TemporaryDirectory() as folder:
        runs = rounds_of(
            rounds,
            {
                "a": job | {"contender": "literal", "dtype": "float32"},
                "b": job | {"contender": "ours", "masks": f"{folder}/100.npz"},
                "certified": job | {"contender": "certified", "masks": f"{folder}/certified.npz"},
            },
        )
        of_100, of_certified = (load_masks(f"{folder}/{n}.npz") for n in ("100", "certified"))
    both = sum(int((of_100[name] & mask).sum()) for name, mask in of_certified.items())
    kept = sum(int(mask.sum()) for mask in of_certified.values())
    fast = runs["certified"]
    ratios = [ratio(runs[name], fast) for name in "ab"]
    row = [network, fast[0]["steps"], *ratios, f"{middle(fast, 'seconds'):.3g}"]
    table(
        f"certified to compression {compression:g}, on {machine(device, busy)}; {rounds} rounds",
        "network | steps | (a) / certified | (b) / certified | seconds | kept by 100 steps too",
        [[*row, f"{both / kept:.1%}"]],
    )


@main.command()
@options
@click.option("--network", default="vgg16", show_default=True)
def data(rounds, device, busy, network) -> None:
    """SNIP and GraSP beside one plain (double) backward pass for each batch; their memory."""
    rows = []
    for score, plain in (("snip", "backward"), ("grasp", "double")):
        job = {"network": network, "device": device, "busy": busy}
        runs = rounds_of(
            rounds,
            {
                "few": job | {"contender": score, "batches": 2},
                "score": job | {"contender": score, "batches": 6},
                "plain": job | {"contender": plain, "batches": 6},
            },
        )
        row = [score, ratio(runs["score"], runs["plain"])]
        rows.append(row + [f"{middle(runs[k], 'peak_mib'):.0f}" for k in ("few", "score", "plain")])
    table(
        f"Scores of {network} in float64, batches of 64, on {machine(device, busy)}; "
        f"{rounds} rounds",
        "score | score / plain, 6 batches | MiB, 2 batches | MiB, 6 batches | plain MiB",
        rows,
    )


@main.command()
@options
@click.option("--figure", type=click.Path(dir_okay=False), help="Draw it, too.")
def growth(rounds, device, busy, figure) -> None:
    """Time and memory of 100 steps against the number of weights: MLPs of 10^5 to 10^7.5."""
    rows, points = [], []
    for exponent in (5, 5.5, 6, 6.5, 7, 7.5):
        width = round((10**exponent / 3) ** 0.5)
        N, job = 3 * width**2, {"network": f"mlp-{width}", "device": device, "busy": busy}
        runs = rounds_of(rounds, {name: job | {"contender": name} for name in ("ours", "passes")})
        seconds = middle(runs["ours"], "seconds")
        memory = median(run["peak_mib"] - run["idle_mib"] for run in runs["ours"])
        points.append((N, seconds, memory))
        per_weight = [f"{seconds / N * 1e7:.1f}", f"{memory * 2**20 / N:.1f}"]
        rows.append([f"{N:,}", f"{seconds:.3g}", *per_weight, ratio(runs["ours"], runs["passes"])])
    table(
        f"100 steps to compression 100, on {machine(device, busy)}; {rounds} rounds",
        "weights | (b) s | ns for a weight and step | bytes for a weight | (b) / (c)",
        rows,
    )
    if figure:
        draw(points, figure)


def draw(points: list[tuple[float, float, float]], path: str) -> None:
    """Seconds and MiB against weights; a straight line of slope 1 is linear growth."""
    from matplotlib import pyplot as plt

    weights, seconds, memory = zip(*points)
    plot, axes = plt.subplots(figsize=(5, 3.5))
    axes.loglog(weights, seconds, "o-", label="seconds, 100 steps")
    axes.loglog(weights, memory, "s-", label="MiB above the model")
    axes.loglog(weights, [seconds[-1] * n / weights[-1] for n in weights], ":", label="linear")
    axes.set_xlabel("prunable weights")
    axes.legend()
    plot.savefig(path, bbox_inches="tight")


@main.command("start-up")
@click.option("--rounds", default=3, show_default=True)
def start_up(rounds) -> None:
    """`python cli.py --help`, and what the default run does besides pruning and training."""

    def timed(*arguments: str) -> tuple[float, str]:
        start = time.perf_counter()
        command = [sys.executable, str(ROOT / "cli.py"), *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return time.perf_counter() - start, done.stdout

    helped, besides = [], []
    for _ in range(rounds):
        helped.append(timed("--help")[0])
        with tempfile.TemporaryDirectory() as folder:
            seconds, said = timed("run", "--results", folder)
            path = said.splitlines()[-1].removeprefix("result: ")
            spent = json.loads(Path(path).read_text())["seconds"]
        besides.append(seconds - spent["prune"] - spent["train"])
    table(
        f"Start-up on {machine('cpu', False)}; {rounds} rounds, seconds as min / median / max",
        "what | seconds",
        [
            [name, " / ".join(f"{f(times):.2f}" for f in (min, median, max))]
            for name, times in (("`--help`", helped), ("default run, besides", besides))
        ],
    )


if __name__ == "__main__":
    main()
