"""How the command line talks: failures as one sentence, progress on stderr, results on stdout."""

import os
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import click

from experiments.commandline.options import epochs_of

FIRST_RANK = os.environ.get("RANK", "0") == "0" or "TORCHELASTIC_RUN_ID" not in os.environ


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
            text, code = sentence(error), 1
        is_help = "\n" in text  # of a group that was given no command
        if _tells():
            click.echo(text if is_help else f"Error: {text}", err=True)
        sys.exit(code)


def _tells() -> bool:
    """Whether this process says what went wrong, and no other rank does."""
    ranks = sys.modules.get("train.ranks")
    return ranks.tells() if ranks else FIRST_RANK


def sentence(error: Exception) -> str:
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


@contextmanager
def progress():
    """Where long work says how far it is; shown by the first rank."""
    from experiments.runs.progress import Silent

    with closing(Bar() if FIRST_RANK else Silent()) as bar:
        yield bar


def show_result(path: Path) -> None:
    """What a run came to, and where its result is."""
    from experiments.commandline import reports
    from experiments.runs.files import read_result

    if FIRST_RANK:
        click.echo(reports.outcome(read_result(path), path))


def all_pass(device: str) -> bool:
    """Make the checks and print a report to paste."""
    from experiments.checks.selfcheck import machine, selfcheck

    click.echo(f"selfcheck on {machine(device)}\n")
    verdicts = []
    for name, verdict, seconds, detail in selfcheck(device):
        click.echo(f"{verdict}  {name:14} {seconds:6.1f} s  {detail}")
        verdicts.append(verdict)
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("PASS", "FAIL", "SKIP"))
    click.echo(f"\n{counts}")
    return "FAIL" not in verdicts


def show_published(device: str, data_dir: str, results: str) -> None:
    """Losses of either recipe beside the published ones."""
    from experiments.checks.selfcheck import PUBLISHED_LOSS, losses_by_recipe
    from experiments.commandline import reports

    with progress() as bar:
        losses = losses_by_recipe(device, data_dir, results, bar)
    click.echo(reports.losses({**losses, "as published": PUBLISHED_LOSS}, [*PUBLISHED_LOSS]))


def configured(given: dict):
    """The run's configuration."""
    from experiments.resolve import resolve

    return usage(lambda: resolve(given | {"lr_drops": epochs_of(given.get("lr_drops"))}))


def chosen_device(name: str | None) -> str:
    """The device that an option names; by default what is there."""
    from experiments.resolve import device_named

    return usage(device_named, name or "auto")


def usage(make, *arguments):
    """What `make` makes of options; what is wrong with them is a usage error (exit code 2)."""
    try:
        return make(*arguments)
    except ValueError as error:
        raise click.UsageError(sentence(error)) from None


def dataset_named(ctx: click.Context, parameter: click.Parameter, name: str) -> str:
    """The name, if there is such a data set."""
    from train.data import known

    return usage(known, name).name
