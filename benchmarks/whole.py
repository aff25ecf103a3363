"""`python -m benchmarks start-up` and `runs`: commands of cli.py, each as a process."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.rounds import ROOT, keep, machine, middle, ratio, spread, table, to_json
from experiments.runs.files import read_result
from experiments.sweeps.presets import COMMON

NETWORK = "model", "dataset", "width", "device"
TRAINING = "train_images", "epochs", "batch_size", "lr_drops", "precision"
LAPTOP = {name: COMMON[name] for name in NETWORK + TRAINING}  # VGG-11 of the laptop presets
QUICK = {"model": "mlp", "dataset": "digits", "train_images": 100, "epochs": 1, "lr_drops": "none"}
WAYS = "compact", "no-compact"


@click.command("start-up")
@click.option("--rounds", default=3, show_default=True)
@to_json
def start_up(rounds, file) -> None:
    """Time `python cli.py --help`, and the default run without its pruning and training."""
    helped, besides = [], []
    for _ in range(rounds):
        helped.append(timed("--help")[0])
        with tempfile.TemporaryDirectory() as folder:
            seconds, printed = timed("run", "--results", folder)
            spent = result_of(printed)["seconds"]
        besides.append(seconds - spent["prune"] - spent["train"])
    title = f"Start-up on {machine('cpu', False)}; {rounds} rounds, seconds as min / median / max"
    keep(file, title, {"--help": helped, "default run, besides": besides})
    rows = [["`--help`", spread(helped)], ["default run, besides", spread(besides)]]
    table(title, ("what", "seconds"), rows)


def timed(*arguments: str) -> tuple[float, str]:
    """Run `python cli.py ARGUMENTS`; return the seconds and the printed text.

    Raises:
        ClickException: If it fails, with its last line.
    """
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(done.stderr.strip().splitlines()[-1])
    return time.perf_counter() - start, done.stdout


@click.command()
@click.option("--seeds", default=3, show_default=True, help="A round for each: 0, 1, ...")
@click.option("--compressions", default="100,1000", show_default=True, help="Comma-separated.")
@click.option("--data-dir", default="data", show_default=True, help="The folder of fashion-mnist.")
@click.option("--quick", is_flag=True, help="One epoch on digits: to try the command.")
@to_json
def runs(seeds, compressions, data_dir, quick, file) -> None:
    """Compare runs that train the compacted network with runs that train the masked one."""
    title = f"`run`, VGG-11 of the laptop preset, on {machine('cpu', True)}; {seeds} seeds"
    options = LAPTOP | {"data_dir": data_dir} | (QUICK if quick else {})
    kept = {}

    def rows():
        for compression in compressions.split(","):
            cells = [options | {"compression": compression, "seed": s} for s in range(seeds)]
            pairs = [{way: trained(cell, way) for way in WAYS} for cell in cells]
            kept[compression] = each = {way: [pair[way] for pair in pairs] for way in WAYS}
            keep(file, title, kept)
            seconds = [f"{middle(each[way], 'seconds'):.1f}" for way in WAYS]
            top1 = [" ".join(f"{run['top1']:.2f}" for run in each[way]) for way in WAYS]
            yield [compression, *seconds, ratio(*each.values()), *top1]

    head = "compression", "compacted s", "masked s", "compacted / masked"
    table(title, [*head, "top-1, compacted", "top-1, masked"], rows())


def trained(options: dict[str, object], way: str) -> dict[str, float]:
    """Make a run in a new folder; return its processor time and its final accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        given = [text for option in options.items() for text in arguments(*option)]
        before = spent_by_children()
        _, printed = timed("run", *given, f"--{way}", "--results", folder)
        seconds = spent_by_children() - before
        top1 = result_of(printed)["final"]["top1"]
    return {"seconds": seconds, "top1": top1}


def arguments(name: str, value: object) -> tuple[str, str]:
    """Return an option and its text; a list is written with commas."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"--{name.replace('_', '-')}", text


def result_of(printed: str) -> dict:
    """Read the result file that the last printed line of a run names."""
    return read_result(Path(printed.splitlines()[-1].removeprefix("result: ")))


def spent_by_children() -> float:
    """Read the processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
