"""The command line: options become a RunConfig; this is the only file that prints.

torch is imported by the commands that need it, so that `--help` is quick.
"""

import contextlib
import os
import sys
from datetime import timedelta
from pathlib import Path

import click

MODEL_HELP = (
    "mlp, vgg11, vgg16, vgg19, vgg19-plain, resnet18, wrn18, resnet20, resnet32, resnet56, "
    "resnet110, torchvision:NAME or package.module:factory."
)
DATASET_HELP = "digits, mnist, fashion-mnist, cifar10, cifar100, tiny-imagenet or imagenet."
PRUNER_HELP = "random, magnitude, snip, grasp, synflow, skeletonization or taylor-fo."
FOLDER = click.Path(file_okay=False)
FIRST_RANK = os.environ.get("RANK", "0") == "0" or "TORCHELASTIC_RUN_ID" not in os.environ
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
    "recipe": {"help": "Training hyperparameters: paper or published.  [paper]"},
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
    "precision": {"help": "float32 or bfloat16.  [bfloat16 where the device has it, else float32]"},
    "compile": {"is_flag": True, "default": None, "help": "Train with torch.compile."},
    "train-images": {"type": int, "help": "A fixed subset of so many training images.  [all]"},
    "workers": {"type": int, "help": "Processes that decode imagenet's images.  [all cores]"},
    "cycles": {"type": click.IntRange(1), "default": 3, "show_default": True},
    "rewind/--no-rewind": {
        "default": None,
        "help": "Survivors get their initial weights back, or keep what they have.  [rewind]",
    },
    "data-dir": {"type": FOLDER, "default": "data", "show_default": True},
    "results": {"type": FOLDER, "default": "results", "show_default": True},
}
NETWORK = ("model", "dataset", "seed", "width", "init", "device", "score-dtype")
PRUNING = ("pruner", "compression", "steps", "schedule", "scope", "ablate")
TRAINING = ("recipe", "epochs", "batch-size", "lr", "lr-drops", "drop-factor", "weight-decay",
            "train-images")  # fmt: skip
SPEED = ("precision", "compile", "workers")
PLACES = ("data-dir", "results")
SWEPT = ("model", "dataset", "pruner", "compression", "seed", "ablate")  # lists in a sweep


def options(*names: str):
    """Give a command the options of these names, in this order."""

    def decorate(command):
        for name in reversed(names):
            command = click.option(f"--{name}", **OPTIONS[name])(command)
        return command

    return decorate


class Sentences(click.Group):
    """Every failure becomes one sentence on stderr, also click's own; SYNFLOW_DEBUG shows all.

    Under torchrun one rank says it: the first, or the first to fail if the others run on.
    """

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
        if _tells():
            click.echo(text if is_help else f"Error: {text}", err=True)
        sys.exit(code)


def _tells() -> bool:
    """Whether this process says what went wrong, and no other rank does."""
    ranks = sys.modules.get("train.ranks")
    return ranks.tells() if ranks else FIRST_RANK


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


def _bar():
    """Progress is shown by the first rank."""
    from experiments.progress import Silent

    return Bar() if FIRST_RANK else Silent()


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(ctx: click.Context) -> None:
    """Prune neural networks at initialisation: SynFlow and what it is compared with."""
    if "TORCHELASTIC_RUN_ID" in os.environ and ctx.invoked_subcommand not in ("run", "imp"):
        raise click.UsageError("torchrun is for run and imp; call this command without it")
    sys.path.insert(0, os.getcwd())  # for package.module:factory


@main.command()
@options(*NETWORK, *PRUNING, *TRAINING, "record-weights", *SPEED, *PLACES)
def run(**given) -> None:
    """One experiment: build, prune at initialisation, train, evaluate, save.

    A finished run is not repeated, an interrupted one goes on. The last line on stdout is
    `result: PATH`.
    """
    from experiments.run import run as run_experiment

    config = _config(given)
    with contextlib.closing(_bar()) as bar:
        path = run_experiment(config, bar)
    _show_result(path)


def _listed(kind: type):
    """A comma-separated option: "1,10,100" -> [1.0, 10.0, 100.0]."""

    def convert(_, option: click.Parameter, text: str | None) -> list | None:
        try:
            return None if text is None else [kind(part) for part in text.split(",")]
        except ValueError:
            raise click.BadParameter(f"{text} is not a list like 1,10,100") from None

    return {"callback": convert, "metavar": "A,B,..."}


@main.command()
@click.option("--preset", help="A sweep with a name: laptop, laptop-pruners, ...", **_listed(str))
@click.option("--models", help=MODEL_HELP + "  [mlp]", **_listed(str))
@click.option("--datasets", help=DATASET_HELP + "  [digits]", **_listed(str))
@click.option("--pruners", help=PRUNER_HELP + "  [the paper's five]", **_listed(str))
@click.option("--compressions", help="[10^0, 10^0.25, ..., 10^3]", **_listed(float))
@click.option("--seeds", help="[0,1,2]", **_listed(int))
@click.option("--ablates", help="none, shuffle, reinit or invert.  [none]", **_listed(str))
@click.option("--cycles", help="Of imp, in place of --pruners: 1,2,3.", **_listed(int))
@options(*(name for name in (*NETWORK, *PRUNING) if name not in SWEPT))
@options("rewind/--no-rewind", *TRAINING, "record-weights", *SPEED, *PLACES)
@click.option("--jobs", default=1, show_default=True, help="Processes; they share the threads.")
@click.option("--shard", metavar="I/N", help="Only the I-th of N parts, for job arrays.")
@click.option("--dry-run", is_flag=True, help="List the runs and what they will cost.")
def sweep(jobs: int, shard: str | None, dry_run: bool, **given) -> None:
    """A grid of runs. Finished runs are skipped, interrupted ones go on, failed ones start again.

    Compression 1 is trained once per seed, for all pruners.
    """
    from experiments import sweep as sweeps

    configs = _usage(_grid, given, shard)
    if jobs < 1:
        raise click.UsageError(f"--jobs must be at least 1, not {jobs}")
    if dry_run:
        _show_plan(sweeps.plan(configs, jobs), jobs)
        return
    with contextlib.closing(_bar()) as bar:
        outcomes = sweeps.sweep(configs, jobs, bar)
    _show_summary(sweeps.summary(configs))
    undone = [outcome for outcome in outcomes if outcome.state != "finished"]
    if undone:
        reasons = "; ".join(f"{o.config.directory.name}: {o.reason}" for o in undone[:3])
        raise RuntimeError(f"{len(undone)} of {len(configs)} runs are not finished ({reasons})")


def _grid(given: dict, shard: str | None) -> list:
    from experiments import grid, presets

    if names := given.pop("preset"):
        configs = presets.preset(names, given)
    else:
        configs = grid.grid(*_axes(given))
    return grid.shard(configs, *_part(shard)) if shard else configs


def _axes(given: dict) -> tuple[dict, dict]:
    """What `grid` takes."""
    from experiments.grid import PAPER_COMPRESSIONS

    if given["cycles"] and given["pruners"]:
        raise ValueError("--cycles is for imp, which takes no --pruners: make two sweeps")
    given["lr_drops"] = _epochs(given["lr_drops"])
    defaults = {
        "model": ["mlp"],
        "dataset": ["digits"],
        "pruner": ["random", "magnitude", "snip", "grasp", "synflow"],
        "compression": PAPER_COMPRESSIONS,
        "seed": [0, 1, 2],
        "ablate": ["none"],
        "cycles": [0],
    }
    lists = {name: given.pop(name if name == "cycles" else f"{name}s") for name in defaults}
    axes = {name: lists[name] or values for name, values in defaults.items()}
    axes["ablate"] = [None if name == "none" else name for name in axes["ablate"]]
    return axes, given


def _part(text: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8)."""
    try:
        part, parts = map(int, text.split("/"))
    except ValueError:
        raise ValueError(f"--shard must be like 2/8, not {text}") from None
    return part, parts


def _show_plan(rows: list[dict], jobs: int) -> None:
    for row in rows:
        click.echo(f"{row['state']:8}  {_duration(row['seconds']):>12}  {row['run']}")
    left = sum(row["seconds"] for row in rows if row["state"] != "finished")
    todo = sum(row["state"] != "finished" for row in rows)
    click.echo(f"{todo} of {len(rows)} runs to do, about {_duration(left / jobs)}")


def _show_summary(rows: list[dict]) -> None:
    """Means, least and largest over seeds; and how many networks are still connected."""
    for panel in dict.fromkeys((row["model"], row["dataset"]) for row in rows):
        click.echo(f"\n{panel[0]} on {panel[1]}")
        click.echo(
            f"{'pruner':24} {'compression':>11} {'seeds':>5} {'top-1 % (range)':>23} connected"
        )
        for row in rows:
            if (row["model"], row["dataset"]) == panel:
                top1 = "-" if row["top1"] is None else _range(row)
                click.echo(
                    f"{row['pruner']:24} {row['compression']:11.4g} {row['seeds']:>5} {top1:>23} "
                    f"{row['connected']:>9}"
                )


def _range(row: dict) -> str:
    return f"{row['top1']:.2f} ({row['least']:.2f} - {row['largest']:.2f})"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


@main.command()
@options(*[name for name in NETWORK if name != "score-dtype"], "compression")
@options("cycles", "rewind/--no-rewind", *TRAINING, *SPEED, *PLACES)
def imp(**given) -> None:
    """Iterative magnitude pruning: train, prune, rewind, repeat; then a final training.

    After cycle k of n, ceil(N rho^(-k/n)) weights are left. Finished cycles are not repeated,
    an interrupted one goes on. The last line on stdout is `result: PATH`.
    """
    from experiments.imp import imp as run_cycles

    config = _config(given)
    with contextlib.closing(_bar()) as bar:
        path = run_cycles(config, bar)
    _show_result(path)


@main.command()
@options("device")
@click.option("--published", is_flag=True, help="Settle how the published runs were trained.")
@options(*PLACES)
@click.pass_context
def selfcheck(ctx: click.Context, device: str, published: bool, data_dir, results) -> None:
    """The evidence that training and pruning are right on this machine and device.

    With --published: VGG-16 on CIFAR-100, dense, for 20 epochs with either recipe, beside the
    published losses. That takes minutes on a GPU and days on a CPU.
    """
    from experiments.config import device_named

    device = _usage(device_named, device or "auto")
    if published:
        _show_published(device, data_dir, results)
    elif not _all_pass(device):
        ctx.exit(1)


def _all_pass(device: str) -> bool:
    """Make the checks and print a report to paste."""
    from experiments.selfcheck import machine, selfcheck

    click.echo(f"selfcheck on {machine(device)}\n")
    verdicts = []
    for name, verdict, seconds, detail in selfcheck(device):
        click.echo(f"{verdict}  {name:14} {seconds:6.1f} s  {detail}")
        verdicts.append(verdict)
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("PASS", "FAIL", "SKIP"))
    click.echo(f"\n{counts}")
    return "FAIL" not in verdicts


def _show_published(device: str, data_dir: str, results: str) -> None:
    from experiments.selfcheck import PUBLISHED_LOSS, published

    with contextlib.closing(_bar()) as bar:
        losses = published(device, data_dir, results, bar)
    click.echo("train loss    " + "".join(f"{f'epoch {e}':>10}" for e in PUBLISHED_LOSS))
    for name, row in {**losses, "as published": PUBLISHED_LOSS}.items():
        click.echo(f"{name:14}" + "".join(f"{row[e]:10.3f}" for e in PUBLISHED_LOSS))


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
@click.argument("number", metavar="N", type=click.Choice([*"01234567", "precision", "variants"]))
@click.option("--compute", is_flag=True, default=None, help="First compute what is missing.")
@click.option("--full", is_flag=True, default=None, help="Figure 7: the whole published grid.")
@click.option("--best", is_flag=True, default=None, help="Best epochs, as the paper plots it.")
@options("model", "dataset", "width", "init", "seed", "device", *PLACES)
def figure(number: str, results: str, **given) -> None:
    """Draw figure N of the paper (or a word: ours) from saved results, with the CSV behind it.

    0 is the worked example of reference/README.md. 1, 5, 6 and variants (ablated, or with float32
    scores) show the runs of sweeps; 2, 3, 4, 7 and precision networks at initialisation, which
    --compute computes cell by cell.
    """
    from experiments.figures import catalogue

    draw = _usage(catalogue.figure, number, results, given)
    with contextlib.closing(_bar()) as bar:
        path, notes = draw(bar)
    for note in notes:
        click.echo(note)
    click.echo(f"figure: {path}")


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

    if not FIRST_RANK:
        return
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
    """The run's configuration."""
    from experiments.config import resolve

    return _usage(lambda: resolve(given | {"lr_drops": _epochs(given.get("lr_drops"))}))


def _usage(make, *arguments):
    """What `make` makes of options; what is wrong with them is a usage error (exit code 2)."""
    try:
        return make(*arguments)
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
