"""The command line: options become a RunConfig, and its function of experiments/ is called.

torch is imported by the commands that need it, so that `--help` is quick.
"""

import os
import sys
from pathlib import Path

import click

from experiments.commandline.console import (
    Sentences,
    all_pass,
    chosen_device,
    configured,
    dataset_named,
    progress,
    show_published,
    show_result,
    usage,
)
from experiments.commandline.options import (
    DATASET_HELP,
    MODEL_HELP,
    NETWORK,
    PLACES,
    PRUNER_HELP,
    PRUNING,
    SPEED,
    SWEPT,
    TRAINING,
    epochs_of,
    listed,
    options,
    part_of,
)


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
    from experiments.runs.run import run as run_experiment

    config = configured(given)
    with progress() as bar:
        path = run_experiment(config, bar)
    show_result(path)


@main.command()
@click.option("--preset", help="A sweep with a name: laptop, laptop-pruners, ...", **listed(str))
@click.option("--models", help=MODEL_HELP + "  [mlp]", **listed(str))
@click.option("--datasets", help=DATASET_HELP + "  [digits]", **listed(str))
@click.option("--pruners", help=PRUNER_HELP + "  [the paper's five]", **listed(str))
@click.option("--compressions", help="[10^0, 10^0.25, ..., 10^3]", **listed(float))
@click.option("--seeds", help="[0,1,2]", **listed(int))
@click.option("--ablates", help="none, shuffle, reinit or invert.  [none]", **listed(str))
@click.option("--cycles", help="Of imp, in place of --pruners: 1,2,3.", **listed(int))
@options(*(name for name in (*NETWORK, *PRUNING) if name not in SWEPT))
@options("rewind/--no-rewind", *TRAINING, "record-weights", *SPEED, *PLACES)
@click.option("--jobs", default=1, show_default=True, help="Processes; they share the threads.")
@click.option("--shard", metavar="I/N", help="Only the I-th of N parts, for job arrays.")
@click.option("--dry-run", is_flag=True, help="List the runs and what they will cost.")
def sweep(jobs: int, shard: str | None, dry_run: bool, **given) -> None:
    """A grid of runs. Finished runs are skipped, interrupted ones go on, failed ones start again.

    Compression 1 is trained once per seed, for all pruners.
    """
    from experiments.commandline import reports
    from experiments.sweeps import grid, presets
    from experiments.sweeps import sweep as sweeps

    given["lr_drops"] = usage(epochs_of, given["lr_drops"])
    names = given.pop("preset")
    configs = usage(presets.preset, names, given) if names else usage(grid.of_lists, given)
    if shard:
        configs = usage(lambda: grid.shard(configs, *part_of(shard)))
    if jobs < 1:
        raise click.UsageError(f"--jobs must be at least 1, not {jobs}")
    if dry_run:
        click.echo(reports.plan(sweeps.plan(configs, jobs), jobs))
        return
    with progress() as bar:
        outcomes = sweeps.sweep(configs, jobs, bar)
    click.echo(reports.summary(sweeps.summary(configs)))
    undone = [outcome for outcome in outcomes if outcome.state != "finished"]
    if undone:
        reasons = "; ".join(f"{o.config.directory.name}: {o.reason}" for o in undone[:3])
        raise RuntimeError(f"{len(undone)} of {len(configs)} runs are not finished ({reasons})")


@main.command()
@options(*[name for name in NETWORK if name != "score-dtype"], "compression")
@options("cycles", "rewind/--no-rewind", *TRAINING, *SPEED, *PLACES)
def imp(**given) -> None:
    """Iterative magnitude pruning: train, prune, rewind, repeat; then a final training.

    After cycle k of n, ceil(N rho^(-k/n)) weights are left. Finished cycles are not repeated,
    an interrupted one goes on. The last line on stdout is `result: PATH`.
    """
    from experiments.runs.imp import imp as run_cycles

    config = configured(given)
    with progress() as bar:
        path = run_cycles(config, bar)
    show_result(path)


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
    device = chosen_device(device)
    sources = map(ctx.get_parameter_source, ("data_dir", "results"))
    if not published and any(source.name != "DEFAULT" for source in sources):
        raise click.UsageError("--data-dir and --results are for selfcheck --published")
    if published:
        show_published(device, data_dir, results)
    elif not all_pass(device):
        ctx.exit(1)


@main.command("inspect")
@click.argument("directory", metavar="RUN-DIRECTORY", type=click.Path(path_type=Path))
def inspect_command(directory: Path) -> None:
    """Per-layer table, empty tensors, connected or not, the prune/cut certificate."""
    from experiments.commandline import reports
    from experiments.runs.inspection import inspect

    click.echo(reports.inspection(*inspect(directory)))


@main.command("export")
@click.argument("directory", metavar="RUN-DIRECTORY", type=click.Path(path_type=Path))
@options("device")
def export_command(directory: Path, device: str | None) -> None:
    """A physically smaller network, without the channels that nothing reads, and its speed.

    Writes compact.pt2 beside the run's files: `torch.export.load(path).module()` runs it.
    """
    from experiments.commandline import reports
    from experiments.runs.export import export

    click.echo(reports.export(export(directory, chosen_device(device))))


@main.command()
@options(*NETWORK)
def diagnose(**given) -> None:
    """Is this network fit for the theory: conservation, positive scores, what breaks them.

    Looks at the network at initialisation; --dataset gives the shapes, no data is read.
    """
    from experiments.runs.diagnosis import diagnose as diagnose_network
    from experiments.runs.diagnosis import report

    config = configured(given)
    click.echo(report(config, diagnose_network(config)))


@main.command()
@click.argument("number", metavar="N", type=click.Choice([*"01234567", "precision", "variants"]))
@click.option("--compute", is_flag=True, default=None, help="First compute what is missing.")
@click.option("--full", is_flag=True, default=None, help="Figure 7: the whole published grid.")
@click.option("--best", is_flag=True, default=None, help="Best epochs, as the paper plots it.")
@click.option("--weights", help='Figure 0: another network, such as "2,-5;5,1;-1,3|-1,1,1;1,1,-2".')
@options("model", "dataset", "width", "init", "seed", "device", *PLACES)
def figure(number: str, results: str, **given) -> None:
    """Draw figure N of the paper (or a word: ours) from saved results, with the CSV behind it.

    0 is the worked example of reference/README.md, or any small network: its --weights with "|"
    between layers, ";" between neurons, "," between the weights of a neuron. 1, 5, 6 and variants
    (ablated, or with float32 scores) show the runs of sweeps; 2, 3, 4, 7 and precision networks at
    initialisation, which --compute computes cell by cell.
    """
    from experiments.figures import catalogue

    draw = usage(catalogue.figure, number, results, given)
    with progress() as bar:
        path, notes = draw(bar)
    click.echo("\n".join([*notes, f"figure: {path}"]))


@main.group()
def data() -> None:
    """What is known, what is here, get it, check it."""


@data.command("list")
@options("data-dir")
def data_list(data_dir: str) -> None:
    """All datasets, and where each was found."""
    from experiments.commandline import reports
    from train.data import DATASETS, locate

    for name, dataset in DATASETS.items():
        try:
            where = str(locate(name, Path(data_dir)))
        except FileNotFoundError:
            where = "not here"
        click.echo(reports.dataset(name, dataset, where))


@data.command("fetch")
@click.argument("name", callback=dataset_named)
@options("data-dir")
def data_fetch(name: str, data_dir: str) -> None:
    """Download NAME, check its check sum, unpack it."""
    from experiments.runs.progress import counter
    from train.fetch import fetch

    with progress() as bar:
        text = fetch(name, Path(data_dir), counter(bar, f"fetching {name}"))
    click.echo(text)


@data.command("verify")
@click.argument("name", callback=dataset_named)
@options("data-dir")
def data_verify(name: str, data_dir: str) -> None:
    """Load all of NAME and check counts, shapes and labels."""
    from experiments.runs.progress import counter
    from train.fetch import verify

    with progress() as bar:
        text = verify(name, Path(data_dir), counter(bar, "reading images"))
    click.echo(text)


if __name__ == "__main__":
    main()
