"""The command line: options become a RunConfig; this is the only file that prints.

torch is imported by the commands that need it, so that `--help` is quick.
"""

import contextlib
import os
import sys
from pathlib import Path

import click

MODEL_HELP = (
    "mlp, vgg11, vgg16, vgg19, vgg19-plain, resnet18, wrn18, resnet20, resnet32, resnet56, "
    "resnet110, torchvision:NAME or package.module:factory."
)
DATASET_HELP = "digits, mnist, fashion-mnist, cifar10, cifar100, tiny-imagenet or imagenet."
PRUNER_HELP = "random, magnitude, snip, grasp, synflow, skeletonization or taylor-fo."
FOLDER = click.Path(file_okay=False)
OPTIONS = {
    "model": {"help": MODEL_HELP + "  [mlp]"},
    "dataset": {"help": DATASET_HELP + "  [digits]"},
    "pruner": {"help": PRUNER_HELP + "  [synflow]"},
    "compression": {"type": float, "help": "rho >= 1; 100 keeps 1 %.  [10]"},
    "steps": {"type": int, "help": "Pruning iterations.  [100 for synflow, else 1]"},
    "schedule": {"help": "exponential, linear or certified.  [exponential]"},
    "scope": {"help": "global or local.  [global]"},
    "ablate": {"help": "Sanity check: shuffle, reinit or invert.  [none]"},
    "seed": {"type": int, "help": "Of weights, data order and random scores.  [0]"},
    "width": {"type": float, "help": "Scales every hidden width.  [1]"},
    "init": {"help": "Initial weights: paper or published.  [paper]"},
    "device": {"help": "auto, cpu, cuda or cuda:N.  [auto]"},
    "score-dtype": {"help": "float64 or float32.  [float64]"},
    "recipe": {"help": "Training hyperparameters: paper.  [paper]"},
    "epochs": {"type": int, "help": "0 prunes, saves and stops.  [recipe]"},
    "batch-size": {"type": int, "help": "[recipe]"},
    "lr": {"type": float, "help": "Learning rate.  [recipe]"},
    "lr-drops": {"help": "Epochs after which it drops: 60,120, or none.  [recipe]"},
    "drop-factor": {"type": float, "help": "What it is multiplied by.  [recipe]"},
    "weight-decay": {"type": float, "help": "[recipe]"},
    "record-weights": {
        "is_flag": True,
        "default": None,
        "help": "Also write weights.csv: mean squared weights per layer and epoch.",
    },
    "data-dir": {"type": FOLDER, "default": "data", "show_default": True},
    "results": {"type": FOLDER, "default": "results", "show_default": True},
}
NETWORK = ("model", "dataset", "seed", "width", "init", "device", "score-dtype")
PRUNING = ("pruner", "compression", "steps", "schedule", "scope", "ablate")
TRAINING = ("recipe", "epochs", "batch-size", "lr", "lr-drops", "drop-factor", "weight-decay")
PLACES = ("data-dir", "results")


def options(*names: str):
    """Give a command the options of these names, in this order."""

    def decorate(command):
        for name in reversed(names):
            command = click.option(f"--{name}", **OPTIONS[name])(command)
        return command

    return decorate


class Sentences(click.Group):
    """Every failure becomes one sentence on stderr, also click's own; SYNFLOW_DEBUG shows all."""

    def main(self, *args, **extra):
        try:
            sys.exit(super().main(*args, **extra | {"standalone_mode": False}))
        except click.ClickException as error:
            text, code = error.format_message(), error.exit_code
        except click.Abort:
            text, code = "interrupted; the same command goes on", 1
        except Exception as error:
            if os.environ.get("SYNFLOW_DEBUG"):
                raise
            text, code = _sentence(error), 1
        is_help = "\n" in text  # of a group that was given no command
        click.echo(text if is_help else f"Error: {text}", err=True)
        sys.exit(code)


def _sentence(error: Exception) -> str:
    """What our own errors say; the system's and torch's need their subject or kind beside it."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else text
    if isinstance(error, ValueError | FloatingPointError):
        return text
    return f"{type(error).__name__}: {text}"


class Bar:
    """Progress on stderr: a bar with an estimate on a terminal, and a line for each epoch."""

    def __init__(self):
        self.bar = None

    def begin(self, label: str, length: int | None) -> None:
        self.close()
        self.bar = click.progressbar(length=length or 0, label=label, file=sys.stderr)
        self.bar.render_progress()

    def tick(self, count: int = 1) -> None:
        self.bar.update(count)

    def note(self, text: str) -> None:
        click.echo(("\r\033[K" if sys.stderr.isatty() else "") + text, err=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.render_finish()


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Prune neural networks at initialisation: SynFlow and what it is compared with."""
    sys.path.insert(0, os.getcwd())  # for package.module:factory


@main.command()
@options(*NETWORK, *PRUNING, *TRAINING, "record-weights", *PLACES)
def run(**given) -> None:
    """One experiment: build, prune at initialisation, train, evaluate, save.

    A finished run is not repeated, an interrupted one goes on. The last line on stdout is
    `result: PATH`.
    """
    from experiments.run import run as run_experiment

    config = _config(given)
    with contextlib.closing(Bar()) as bar:
        path = run_experiment(config, bar)
    _show_result(path)


@main.command("inspect")
@click.argument("directory", metavar="RUN-DIRECTORY", type=click.Path(path_type=Path))
def inspect_command(directory: Path) -> None:
    """Per-layer table, empty tensors, connected or not, the prune/cut certificate."""
    from experiments.inspection import certificate, inspect

    result, layers = inspect(directory)
    wide = max(len(row["name"]) for row in layers)
    click.echo(f"{'tensor':{wide}}  {'shape':>16} {'size':>12} {'kept':>12} {'density':>9}")
    for row in layers:
        numbers = f"{int(row['size']):12,} {int(row['kept']):12,} {float(row['density']):9.2%}"
        click.echo(f"{row['name']:{wide}}  {row['shape']:>16} {numbers}")
    empty = ", ".join(result["empty_tensors"]) or "none"
    click.echo(
        f"\nkept {result['kept']:,} of {result['prunable']:,} weights: "
        f"compression {result['compression']:g} in {result['steps']} steps, "
        f"scores in {result['score_dtype']}\nempty tensors: {empty}\n"
        f"connected: {'yes' if result['connected'] else 'no, no path is left (layer-collapse)'}\n"
        f"{certificate(result)}"
    )


@main.command()
@options(*NETWORK)
def diagnose(**given) -> None:
    """Is this network fit for the theory: conservation, positive scores, what breaks them.

    Looks at the network at initialisation; --dataset gives the shapes, no data is read.
    """
    from experiments.diagnosis import diagnose as diagnose_network
    from experiments.diagnosis import report

    config = _config(given)
    click.echo(report(config, diagnose_network(config)))


@main.command()
@click.argument("number", metavar="N", type=int)
@options("results")
def figure(number: int, results: str) -> None:
    """Draw figure N and write the CSV behind it; 0 is the worked example of reference/README.md."""
    from experiments.figures import worked_example

    if number != 0:
        raise click.UsageError(f"figure must be 0, the worked example; not {number}")
    click.echo(f"figure: {worked_example.draw(Path(results).absolute() / 'figures')}")


@main.group()
def data() -> None:
    """What is known, what is here, get it, check it."""


@data.command("list")
@options("data-dir")
def data_list(data_dir: str) -> None:
    """All datasets, and where each was found."""
    from train.data import DATASETS, locate

    for name, dataset in DATASETS.items():
        try:
            where = str(locate(name, Path(data_dir)))
        except FileNotFoundError:
            where = "not here"
        size = f"{dataset.train_size:,} + {dataset.test_size:,}"
        shape = "x".join(map(str, dataset.shape))
        click.echo(f"{name:14} {dataset.classes:5} classes  {shape:>9}  {size:>18}  {where}")


def _dataset(ctx: click.Context, parameter: click.Parameter, name: str) -> str:
    from train.data import known

    try:
        return known(name).name
    except ValueError as error:
        raise click.UsageError(_sentence(error)) from None


@data.command("fetch")
@click.argument("name", callback=_dataset)
@options("data-dir")
def data_fetch(name: str, data_dir: str) -> None:
    """Download NAME, check its check sum, unpack it."""
    from experiments.progress import counter
    from train.fetch import fetch

    with contextlib.closing(Bar()) as bar:
        text = fetch(name, Path(data_dir), counter(bar, f"fetching {name}"))
    click.echo(text)


@data.command("verify")
@click.argument("name", callback=_dataset)
@options("data-dir")
def data_verify(name: str, data_dir: str) -> None:
    """Load all of NAME and check counts, shapes and labels."""
    from experiments.progress import counter
    from train.fetch import verify

    with contextlib.closing(Bar()) as bar:
        text = verify(name, Path(data_dir), counter(bar, "reading images"))
    click.echo(text)


def _show_result(path: Path) -> None:
    from experiments.results import read_result

    result = read_result(path)
    state = "connected" if result["connected"] else "NOT connected (layer-collapse)"
    click.echo(
        f"kept {result['kept']:,} of {result['prunable']:,} weights, "
        f"{len(result['empty_tensors'])} empty tensors, {state}"
    )
    for name in ("untrained", "best", "final"):
        if accuracy := result[name]:
            click.echo(
                f"{name:9} top-1 {accuracy['top1']:6.2f} %   top-5 {accuracy['top5']:6.2f} %"
            )
    click.echo(f"result: {path}")


def _config(given: dict):
    """The run's configuration; what is wrong with the options is a usage error (exit code 2)."""
    from experiments.config import resolve

    try:
        return resolve(given | {"lr_drops": _epochs(given.get("lr_drops"))})
    except ValueError as error:
        raise click.UsageError(_sentence(error)) from None


def _epochs(text: str | None) -> tuple[int, ...] | None:
    """ "60,120" -> (60, 120); "none" -> ()."""
    if text is None:
        return None
    try:
        return () if text == "none" else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--lr-drops must be epochs as in 60,120, or none; not {text}") from None


if __name__ == "__main__":
    main()
