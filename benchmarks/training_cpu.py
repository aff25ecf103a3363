"""`python -m benchmarks training-cpu`: dense training steps of `run` and of a plain PyTorch loop.

Each runs in a process of its own, in turns, since a process keeps the settings of its allocator.
The processor time of one thread is measured. "convolutions" is their part of our step: if all else
took no time, a step would be faster by no more than that.
"""

import json
import resource
import subprocess
import sys
import time
from statistics import median

import click
import torch
from torch.nn import functional as F
from torch.profiler import profile

from benchmarks.rounds import ROOT, heading, keep, machine, named, row, spread, to_json
from benchmarks.training import Work
from train.loop import sgd, step
from train.models import build
from train.prepared import prepared
from train.recipes import paper

NETWORKS = {  # name, width -> images of a batch, measured steps
    ("vgg11", 0.25): (64, 20),
    ("resnet18", 0.25): (64, 8),
    ("vgg11", 1.0): (32, 6),
    ("resnet18", 1.0): (32, 4),
}
SHAPE, CLASSES = (1, 32, 32), 10  # of fashion-mnist
LOOPS = ("plain", "ours", "compiled")


def work(loop: str, name: str, width: float, images: int) -> Work:
    """Make a training step of a dense network."""
    torch.manual_seed(0)
    model = build(name, SHAPE, CLASSES, width).train()
    inputs, labels = torch.randn(images, *SHAPE), torch.randint(0, CLASSES, (images,))
    recipe = paper(name, "fashion-mnist")
    if loop != "plain":
        net, optimizer = prepared(model, compile=loop == "compiled"), sgd(model, recipe)
        return lambda: step(net, optimizer, inputs, labels, images)
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.lr, 0.9, weight_decay=recipe.weight_decay, nesterov=True
    )

    def plain() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return plain


def measured(loop: str, name: str, width: float) -> dict[str, float]:
    """Measure steps: seconds of each, page faults of each, and the part of convolutions."""
    images, steps = NETWORKS[name, width]
    one = work(loop, name, width, images)
    one(), one()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    times = []
    for _ in range(steps):
        start = time.process_time()
        one()
        times.append(time.process_time() - start)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"seconds": median(times), "faults": faults / steps, "convolutions": convolutions(one)}


def convolutions(one: Work) -> float:
    """Measure the part of the processor time that convolutions take."""
    with profile() as run:
        one()
    events = run.key_averages()
    ours = ("aten::mkldnn_convolution", "aten::convolution_backward")
    spent = sum(event.self_cpu_time_total for event in events if event.key in ours)
    return spent / sum(event.self_cpu_time_total for event in events)


def in_a_process(*job: object) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training_cpu", "--job", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def cells(loop: str, runs: dict[str, list[dict]], images: int) -> list[str]:
    """Format images per second, their ratio to the plain loop's, page faults, convolutions."""
    seconds = [run["seconds"] for run in runs[loop]]
    ratios = [a["seconds"] / b for a, b in zip(runs["plain"], seconds, strict=True)]
    faults, part = (median(run[key] for run in runs[loop]) for key in ("faults", "convolutions"))
    return [f"{images / median(seconds):.0f}", spread(ratios), f"{faults:,.0f}", f"{part:.0%}"]


@click.command("training-cpu", help=__doc__)
@click.option("--rounds", default=3, show_default=True)
@named(dict.fromkeys(name for name, _ in NETWORKS))
@click.option("--job", hidden=True, help="Measure one loop, in this process.")
@to_json
def main(rounds, networks, job, file) -> None:
    torch.set_num_threads(1)
    if job:
        click.echo(json.dumps(measured(*json.loads(job))))
        return
    title = f"{machine('cpu', busy=True)}; {rounds} rounds, ratios as min / median / max"
    kept = {}
    click.echo(f"{title}\n")
    heading("network", "batch", "loop", "images/s", "to plain", "page faults", "convolutions")
    for (name, width), (images, _) in NETWORKS.items():
        if name not in networks:
            continue
        turns = [{loop: in_a_process(loop, name, width) for loop in LOOPS} for _ in range(rounds)]
        what = f"{name} x {width:g}"
        kept[what] = {loop: [turn[loop] for turn in turns] for loop in LOOPS}
        keep(file, title, kept)
        for loop in LOOPS:
            row(what, images, loop, *cells(loop, kept[what], images))


if __name__ == "__main__":
    main()
