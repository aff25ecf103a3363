"""The command line: options become a RunConfig, and a function of experiments/ is called with it.

The commands import torch, this file does not, so that `--help` is quick.
"""

from pathlib import Path

import click

from experiments.commandline.console import (
    Sentences,
    check_packages,
    checked,
    chosen_device,
    configured,
    outcome,
    parse,
    progress,
    published,
    run_argument,
)
from experiments.commandline.datasets import data
from experiments.commandline.option_files import config_file, like_file
from experiments.commandline.options import (
    FIGURES,
    IMP_OPTIONS,
    NETWORK_OPTIONS,
    PLACE_OPTIONS,
    RUN_OPTIONS,
    SCORE_OPTIONS,
    SWEEP_OPTIONS,
    launchers,
    listed,
    lists,
    options,
    trusted,
)
from experiments.commandline.output import HELP_OPTIONS, Report
from synflow import __version__
from train import launch


@click.group("synflow", cls=Sentences, context_settings={"help_option_names": HELP_OPTIONS})
@click.version_option(__version__, prog_name="synflow", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Prune neural networks at initialisation: SynFlow and the methods it is compared with."""
    launch.fix_sums()
    if launch.torchrun() and ctx.invoked_subcommand not in ("run", "imp"):
        raise click.UsageError("torchrun is for run and imp; call this command without it")
    check_packages()


@main.command()
@config_file
@like_file
@options(*RUN_OPTIONS)
def run(**given) -> Report | None:
    """Run one experiment: build, prune at initialisation, train, evaluate, save.

    A finished run is not repeated, an interrupted one goes on. The last line on stdout is
    `result: PATH`.
    """
    with progress() as bar:
        from experiments.runs.run import run as run_experiment

        path = run_experiment(configured(given), bar)
    return outcome(path)


@main.command()
@config_file
@click.option("--preset", help="A named sweep: laptop, laptop-pruners, ...", **listed(str))
@lists
@options(*SWEEP_OPTIONS)
@launchers
def sweep(**given) -> Report:
    """Run a grid of runs. Finished ones are skipped, interrupted ones go on, failed ones restart.

    Compression 1 is trained once per seed, for all pruners.
    """
    from experiments.commandline import sweeping
    from experiments.runs.notes import heard

    with progress() as bar, heard([], bar):
        return sweeping.sweep(bar, **given)


@main.command()
@config_file
@options(*IMP_OPTIONS)
def imp(**given) -> Report | None:
    """Prune by magnitude in cycles of train, prune and rewind; then train once more.

    After cycle k of n, ceil(N rho^(-k/n)) weights are left. Finished cycles are not repeated,
    an interrupted one goes on. The last line on stdout is `result: PATH`.
    """
    with progress() as bar:
        from experiments.runs.imp import imp as run_cycles

        path = run_cycles(configured(given), bar)
    return outcome(path)


@main.command()
@options("device")
@click.option(
    "--published", "losses", is_flag=True, help="Compare both recipes with the published losses."
)
@options(*PLACE_OPTIONS)
@click.pass_context
def selfcheck(ctx: click.Context, device: str, losses: bool, data_dir, results) -> Report:
    """Check that training and pruning are right on this machine and device.

    With --published: train VGG-16 on CIFAR-100, dense, for 20 epochs with each recipe, and show
    the losses beside the published ones. That takes minutes on a GPU and days on a CPU.
    """
    if losses:
        return published(chosen_device(device), data_dir, results)
    return checked(ctx, chosen_device(device))


@main.command("inspect")
@run_argument
@trusted
def inspect_command(directory: Path, **named: str | None) -> Report:
    """Show layers, weights on a path, connected or not, and the certificate of Theorem 4."""
    with progress() as bar:
        from experiments.commandline import reports
        from experiments.runs.inspection import inspect

        bar.begin("inspecting", None)
        found = inspect(directory, **named)
    numbers = {name: part for name, part in found._asdict().items() if name != "networks"}
    return Report(reports.inspection(found), numbers)


@main.command("export")
@run_argument
@options("device")
@trusted
def export_command(directory: Path, device: str | None, **named: str | None) -> Report:
    """Remove the channels that no layer reads, and measure the smaller network's speed.

    Writes compact.pt2 beside the run's files: `torch.export.load(path).module()` runs it.
    """
    with progress() as bar:
        from experiments.commandline import reports
        from experiments.runs.export import export

        made = export(directory, chosen_device(device), progress=bar, **named)
    return Report(reports.export(made), vars(made))


@main.command()
@run_argument
@trusted
def report(directory: Path, **named: str | None) -> Report:
    """Write report.html beside the run's files: what inspect shows, with pictures, on one page.

    The page also has the accuracies, the settings and the command of the run. It loads nothing.
    """
    with progress() as bar:
        from experiments.commandline import page

        bar.begin("inspecting", None)
        path = page.write(directory, **named)
    return Report(f"report: {path}", {"report": path})


@main.command()
@options(*NETWORK_OPTIONS)
def diagnose(**given) -> Report:
    """Check a network against the theory: is flow conserved, are scores positive, if not, why?

    The network is at initialisation; --dataset gives the shapes, no data is read.
    """
    with progress() as bar:
        from experiments.runs.diagnosis import diagnose as diagnose_network
        from experiments.runs.diagnosis import facts, report

        config = configured(given)
        found = diagnose_network(config, bar)
    return Report(report(config, found), facts(config, found))


@main.command()
@click.argument("names", nargs=-1)
@options(*SCORE_OPTIONS)
def score(**given) -> Report:
    """Score architectures by their mean Synaptic Flow, from no weights: NAMES as of --model, files.

    A file has one name a line.
    """
    from experiments.nas import scoring

    rows, lines = parse(scoring.score, **given)
    return Report("\n".join(lines), {"scores": rows})


@main.command()
@click.argument("number", metavar="N", type=click.Choice(FIGURES))
@click.option("--compute", is_flag=True, default=None, help="First compute the missing numbers.")
@click.option("--full", is_flag=True, default=None, help="7, critical: also what takes long.")
@click.option("--best", is_flag=True, default=None, help="Plot the best epochs, as the paper does.")
@click.option("--format", help="png, pdf, svg, or several: png,pdf.  [png]", **listed(str))
@click.option("--dark", is_flag=True, default=None, help="On a dark background: NAME-dark.png.")
@click.option("--weights", help='Figure 0: another network, such as "2,-5;5,1;-1,3|-1,1,1;1,1,-2".')
@options("model", "dataset", "width", "init", "seed", "device", *PLACE_OPTIONS)
def figure(number: str, results: str, **given) -> Report:
    """Draw figure N of the paper from saved results, and write the CSV behind it.

    0 is the worked example of reference/README.md, or any small network by --weights. 1, 5 and 6
    show sweeps; 2, 3, 4 and 7 networks at initialisation, which --compute computes, as critical
    (compressions) and precision do. Ours, too: variants, cost and table (CSV and LaTeX).
    """
    with progress() as bar:
        from experiments.figures import catalogue

        path, notes = parse(catalogue.figure, number, results, given)(bar)
    return Report("\n".join([*notes, f"figure: {path}"]), {"figure": path, "notes": notes})


main.add_command(data)


if __name__ == "__main__":
    main(prog_name="python cli.py")
