"""`python -m benchmarks COMMAND`: the speed of pruning, as ratios of times of the same round.

benchmarks/README.md explains the tables.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

from benchmarks.gpu import gpu
from benchmarks.rounds import ROOT, machine, measured, middle, ratio, rounds_of
from benchmarks.zoo import zoo
from prune import load_masks

NETWORKS = ("mlp", "vgg16", "resnet18", "vgg19", "resnet50")


def options(command):
    """Add the options that every comparison has."""
    rounds = click.option("--rounds", default=3, show_default=True, help="Rounds of the jobs.")
    device = click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
    busy = click.option(
        "--busy",
        is_flag=True,
        help="Measure the processor time of one thread, on a machine with other work.",
    )
    return rounds(device(busy(command)))


def table(title: str, head: str, rows: list[list]) -> None:
    """Print a Markdown table."""
    click.echo(f"\n{title}\n\n| {head} |\n|{'---|' * (head.count('|') + 1)}")
    for row in rows:
        click.echo("| " + " | ".join(map(str, row)) + " |")


@click.group()
def main() -> None:
    """Measure the speed of pruning, as ratios of times of the same round."""


@main.command()
@options
@click.option("--networks", default=",".join(NETWORKS), show_default=True, help="Comma-separated.")
@click.option("--steps", default=100, show_default=True)
@click.option("--compression", default=100.0, show_default=True)
@click.option("--check", is_flag=True, help="Compare the masks with those of (a) in float64: slow.")
def synflow(rounds, device, busy, networks, steps, compression, check) -> None:
    """Compare SynFlow: (a) literal, float32; (b) ours, float64; (c) plain passes, float64."""
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
                "a": job | {"method": "literal", "dtype": "float32"},
                "b": job | {"method": "ours"},
                "c": job | {"method": "passes"},
            },
        )
        rows.append(synflow_row(name, runs) + (checked(job) if check else []))
    more = " | (a) float64 MiB | weights that differ" if check else ""
    table(
        f"SynFlow, {steps} steps to compression {compression:g}, on {machine(device, busy)}; "
        f"{rounds} rounds, ratios as min / median / max",
        "network | (b) / (c) | (a) / (b) | (a) s | (b) s | (c) s | (a) MiB | (b) MiB | (c) MiB"
        + more,
        rows,
    )


def synflow_row(name: str, runs: dict[str, list[dict]]) -> list[str]:
    """Format the ratios, and the seconds and memory of (a), (b) and (c)."""
    ratios = [ratio(runs["b"], runs["c"]), ratio(runs["a"], runs["b"])]
    seconds = [f"{middle(runs[key], 'seconds'):.3g}" for key in "abc"]
    memory = [f"{middle(runs[key], 'peak_mib'):.0f}" for key in "abc"]
    return [name, *ratios, *seconds, *memory]


def checked(job: dict) -> list[str]:
    """Measure the memory of (a) in float64, and count the weights that differ from our masks."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: f"{folder}/{name}.npz" for name in ("literal", "ours")}
        runs = {name: measured(**job, method=name, masks=path) for name, path in paths.items()}
        literal, ours = (load_masks(path) for path in paths.values())
    differ = sum(int((literal[name] != ours[name]).sum()) for name in ours)
    kept = sum(int(mask.sum()) for mask in ours.values())
    click.echo(f"  {differ} of {kept} weights differ", err=True)
    return [f"{runs['literal']['peak_mib']:.0f}", f"{differ} of {kept}"]


@main.command()
@options
@click.option("--network", default="vgg16", show_default=True)
@click.option("--compression", default=100.0, show_default=True)
def certified(rounds, device, busy, network, compression) -> None:
    """Measure the certified schedule: steps, time, and overlap with the masks of 100 steps."""
    job = {"network": network, "compression": compression, "device": device, "busy": busy}
    with tempfile.TemporaryDirectory() as folder:
        runs = rounds_of(
            rounds,
            {
                "a": job | {"method": "literal", "dtype": "float32"},
                "b": job | {"method": "ours", "masks": f"{folder}/100.npz"},
                "certified": job | {"method": "certified", "masks": f"{folder}/certified.npz"},
            },
        )
        of_100, of_certified = (load_masks(f"{folder}/{n}.npz") for n in ("100", "certified"))
    both = sum(int((of_100[name] & mask).sum()) for name, mask in of_certified.items())
    kept = sum(int(mask.sum()) for mask in of_certified.values())
    fast = runs["certified"]
    ratios = [ratio(runs[name], fast) for name in "ab"]
    seconds = f"{middle(fast, 'seconds'):.3g}"
    table(
        f"certified to compression {compression:g}, on {machine(device, busy)}; {rounds} rounds",
        "network | steps | (a) / certified | (b) / certified | seconds | kept by 100 steps too",
        [[network, fast[0]["steps"], *ratios, seconds, f"{both / kept:.1%}"]],
    )


@main.command()
@options
@click.option("--network", default="vgg16", show_default=True)
def data(rounds, device, busy, network) -> None:
    """Compare SNIP and GraSP with one plain (double) backward pass for each batch."""
    rows = []
    for score, plain in (("snip", "backward"), ("grasp", "double")):
        job = {"network": network, "device": device, "busy": busy}
        runs = rounds_of(
            rounds,
            {
                "few": job | {"method": score, "batches": 2},
                "score": job | {"method": score, "batches": 6},
                "plain": job | {"method": plain, "batches": 6},
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
@click.option("--figure", type=click.Path(dir_okay=False), help="Draw it into this file.")
def growth(rounds, device, busy, figure) -> None:
    """Measure time and memory of 100 steps for MLPs of 10^5 to 10^7.5 weights."""
    rows, points = [], []
    for exponent in (5, 5.5, 6, 6.5, 7, 7.5):
        width = round((10**exponent / 3) ** 0.5)
        N = 3 * width**2
        job = {"network": f"mlp-{width}", "device": device, "busy": busy}
        runs = rounds_of(rounds, {name: job | {"method": name} for name in ("ours", "passes")})
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
    """Draw seconds and MiB against weights, with a line of slope 1 for linear growth."""
    from matplotlib import pyplot as plt

    weights, seconds, memory = zip(*points, strict=True)
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
    """Time `python cli.py --help`, and the default run without its pruning and training."""
    helped, besides = [], []
    for _ in range(rounds):
        helped.append(timed("--help")[0])
        with tempfile.TemporaryDirectory() as folder:
            seconds, printed = timed("run", "--results", folder)
            path = printed.splitlines()[-1].removeprefix("result: ")
            spent = json.loads(Path(path).read_text())["seconds"]
        besides.append(seconds - spent["prune"] - spent["train"])
    table(
        f"Start-up on {machine('cpu', False)}; {rounds} rounds, seconds as min / median / max",
        "what | seconds",
        [["`--help`", spread(helped)], ["default run, besides", spread(besides)]],
    )


def timed(*arguments: str) -> tuple[float, str]:
    """Run `python cli.py ARGUMENTS`; return the seconds and the printed text."""
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def spread(times: list[float]) -> str:
    """Format min / median / max."""
    return f"{min(times):.2f} / {median(times):.2f} / {max(times):.2f}"


main.add_command(gpu)
main.add_command(zoo)

if __name__ == "__main__":
    main()
