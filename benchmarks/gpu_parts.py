"""Parts of `python -m benchmarks gpu`, each by itself: `python -m benchmarks.gpu_parts PART`.

Each prints a Markdown table, and each row when it is measured.
"""

import gc
import time
from collections.abc import Callable

import click
import torch
from torch import nn

from benchmarks.job import Job, measured
from benchmarks.pruning import COLUMNS, synflow_row
from benchmarks.rounds import heading, row
from benchmarks.training import Work, alternated, report
from experiments.config import RunConfig
from experiments.resolve import resolve
from experiments.runs.files import read_result
from experiments.runs.run import run
from prune import Probe, apply, compact, prune
from train.loop import sgd, step
from train.models import build
from train.prepared import prepared
from train.recipes import paper

BATCH, SHAPE, CLASSES = 128, (3, 32, 32), 10
CALLS = 10  # steps in one measurement, so that the calls of a step need not wait for the device
COMPRESSIONS = (10, 100, 1000)
FORMS = {  # name -> precision, channels_last, compiled
    "float32": ("float32", False, False),
    "float32, channels_last": ("float32", True, False),
    "bfloat16, channels_last": ("bfloat16", True, False),
    "bfloat16, channels_last, compiled": ("bfloat16", True, True),
}
Networks = dict[str, nn.Module]


def options(command: Callable) -> Callable:
    """Add the options of every part."""
    command = click.option("--quick", is_flag=True, help="Tiny: to try the command.")(command)
    return click.option("--device", default="cuda", show_default=True)(command)


@click.group()
def main() -> None:
    """Measure one part."""


# ---- SynFlow against the plain algorithm and plain passes -----------------------------------


@main.command()
@click.argument("network")
@options
def synflow(network: str, device: str, quick: bool) -> None:
    """Compare (a) the plain algorithm in float32, (b) ours, (c) plain passes in float64."""
    steps, rounds = (3, 1) if quick else (100, 2)
    job = Job("passes", network, steps=steps, device=device)
    jobs = {
        "c": job,
        "b": job._replace(method="ours"),
        "a": job._replace(method="literal", dtype="float32"),
    }
    for each in jobs.values():  # loads the kernels
        measured(each._replace(steps=2, compression=2))
    click.echo(f"{network}: {steps} SynFlow steps to compression {job.compression:g}\n")
    heading("process", "seconds", "peak MiB")
    runs: dict[str, list[dict]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, each in jobs.items():
            gc.collect()
            runs[name].append(measured(each))
            last = runs[name][-1]
            row(f"({name}) {each.method}", f"{last['seconds']:.3g}", f"{last['peak_mib']:.0f}")
    click.echo("")
    heading(*COLUMNS[:6])  # without the memory, which is in the rows above
    row(*synflow_row(network, runs)[:6])


# ---- training steps -------------------------------------------------------------------------


@main.command()
@options
def steps(device: str, quick: bool) -> None:
    """Compare masked and compacted training steps with dense ones of the same form."""
    place = torch.device(device)
    networks = {"mlp": 0.25} if quick else {"vgg16": 1.0, "resnet18": 1.0}
    rounds = 2 if quick else 5
    click.echo(f"Training steps, batches of {BATCH} images of 32 px, {rounds} rounds\n")
    heading("step", "ms", "dense, ms", "of the dense step: quartiles")
    made = {name: variants(name, width, place, quick) for name, width in networks.items()}
    for form in list(FORMS)[-2:] if quick else FORMS:  # the compiled ones, which take long, last
        for name, variant in made.items():
            compare(name, form, variant, place, rounds)


def variants(name: str, width: float, device: torch.device, quick: bool) -> Networks:
    """Build a network, dense, masked by SynFlow and compacted."""
    torch.manual_seed(0)
    dense = build(name, SHAPE, CLASSES, width).to(device)
    made = {"dense": dense}
    for compression in (10,) if quick else COMPRESSIONS:
        masked = build(name, SHAPE, CLASSES, width).to(device)
        masked.load_state_dict(dense.state_dict())
        apply(masked, prune(masked, "synflow", Probe(SHAPE), compression, 3 if quick else 100))
        made.setdefault("masked", masked)
        small = compact(masked, torch.zeros(2, *SHAPE, device=device))
        made[f"compacted at {compression}"] = small
    return made


def compare(name: str, form: str, made: Networks, device: torch.device, rounds: int) -> None:
    """Print a row for each network of one form, measured in turns with the dense one."""
    torch.compiler.reset()  # it compiles a forward method for eight networks at most
    torch.manual_seed(0)
    inputs = torch.randn(BATCH, *SHAPE, device=device)
    labels = torch.randint(0, CLASSES, (BATCH,), device=device)
    dense = work(made["dense"], form, inputs, labels)
    for variant, network in made.items():
        if variant != "dense":
            ours = work(network, form, inputs, labels)
            pairs = alternated(ours, dense, rounds, device)
            each = [(a / CALLS, b / CALLS) for a, b in pairs]
            report(f"{name}, {variant}, {form}", each)


def work(network: nn.Module, form: str, inputs: torch.Tensor, labels: torch.Tensor) -> Work:
    """Make some training steps in a form, as `run` makes them."""
    precision, channels_last, compiled = FORMS[form]
    if channels_last:
        network.to(memory_format=torch.channels_last)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    net = prepared(network.train(), precision, compiled)
    optimizer = sgd(network, paper("vgg16", "cifar10"))
    for group in optimizer.param_groups:
        group["lr"] = 1e-3

    def steps_of_training() -> None:
        for _ in range(CALLS):
            step(net, optimizer, inputs, labels, len(labels))

    return steps_of_training


# ---- Figure 6 -------------------------------------------------------------------------------


@main.command()
@options
@click.option("--data-dir", default="data", show_default=True)
@click.option("--results", required=True, help="The folder of the runs.")
def figure6(device: str, quick: bool, data_dir: str, results: str) -> None:
    """Train pruned networks of full width, one after the other; finished ones are kept."""
    places = {"device": device, "data_dir": data_dir, "results": results}
    configs = [resolve(options | places) for options in grid(quick)]
    click.echo(f"Top-1 accuracy in percent after training: {conditions(configs[0])}\n")
    heading("pruner", "compression", "top1", "on a path", "prune s", "train s", "wall s")
    for config in configs:
        start = time.perf_counter()
        result = read_result(run(config))
        seconds = [result["seconds"]["prune"], result["seconds"]["train"]]
        seconds.append(time.perf_counter() - start)
        top1 = f"{result['final']['top1']:.2f}"
        cells = [config.pruner, f"{config.compression:g}", top1, f"{result['effective']:,}"]
        row(*cells, *(f"{value:.1f}" for value in seconds))


def conditions(config: RunConfig) -> str:
    """Describe the training that the runs have in common."""
    drops = " and ".join(map(str, config.lr_drops)) or "no epoch"
    return (
        f"{config.model} of width {config.width:g} on {config.dataset}, seed {config.seed}, "
        f"{config.epochs} epochs, learning rate {config.lr:g} with drops after {drops}, "
        f"batches of {config.batch_size}, {config.precision}"
    )


def grid(quick: bool) -> list[dict]:
    """List the options of each run, those of the middle compression first."""
    if quick:
        return [{"epochs": 1, "steps": 3}]
    common = {"dataset": "fashion-mnist", "model": "vgg16", "epochs": 6, "lr_drops": (3, 5)}
    return [
        common | {"pruner": pruner, "compression": compression}
        for compression in (100.0, 10.0, 1000.0)
        for pruner in ("synflow", "magnitude", "random", "snip", "grasp")
    ]


if __name__ == "__main__":
    main()
