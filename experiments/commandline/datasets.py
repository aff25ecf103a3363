"""The commands of `data`: where the data sets are, to download them, to check them."""

from pathlib import Path

import click

from experiments.commandline.console import parse, progress
from experiments.commandline.names import Names
from experiments.commandline.options import options
from experiments.commandline.output import Commands, Report


def dataset_argument(command):
    """Give a command the argument NAME, of a data set that there is."""
    return click.argument("name", type=Names("dataset"), callback=_dataset_named)(command)


def _dataset_named(ctx: click.Context, parameter: click.Parameter, name: str) -> str:
    """Return the name if there is such a data set; otherwise it is a usage error."""
    from train.data import known

    return parse(known, name).name


@click.group(cls=Commands)
def data() -> None:
    """List, download and check the data sets."""


@data.command("list")
@options("data-dir")
def data_list(data_dir: str) -> Report:
    """List all data sets and the folder of each."""
    from experiments.commandline import reports

    rows = reports.dataset_rows(Path(data_dir))
    return Report(reports.datasets(rows), {"datasets": rows})


@data.command("fetch")
@dataset_argument
@options("data-dir")
def data_fetch(name: str, data_dir: str) -> Report:
    """Download NAME, check its checksum, unpack it."""
    from train.fetch import fetch

    return images(fetch, name, data_dir, f"fetching {name}")


@data.command("verify")
@dataset_argument
@options("data-dir")
def data_verify(name: str, data_dir: str) -> Report:
    """Load all of NAME and check counts, shapes and labels."""
    from train.fetch import verify

    return images(verify, name, data_dir, "reading images")


def images(act, name: str, data_dir: str, label: str) -> Report:
    """Call `act` on a data set, show how far it is, and report its sentence."""
    from experiments.runs.progress import counter

    with progress() as bar:
        text = act(name, Path(data_dir), counter(bar, label))
    return Report(text, {"dataset": name, "report": text})
