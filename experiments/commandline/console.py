"""The console: errors as one sentence on stderr, progress on stderr, results as reports."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click

import synflow
from experiments.commandline import option_files
from experiments.commandline.bar import Bar
from experiments.commandline.help import Grouped
from experiments.commandline.options import epochs_of
from experiments.commandline.output import Commands, Report, advice, wanted
from train import launch

COMPLETE = "_SYNFLOW_COMPLETE"  # the variable by which a shell asks for names


class Sentences(click.Group):
    """A group of commands that prints every error as one sentence on stderr, click's own too.

    The exit code is 2 for a wrong option and 1 for anything else. SYNFLOW_DEBUG shows the
    traceback. Under torchrun one rank prints: the first, or the first to fail alone.
    """

    command_class = Grouped
    group_class = Commands

    def main(self, args=None, prog_name="synflow", **extra):
        if os.environ.get(COMPLETE):  # a shell asks for names; the answer ends the program
            super().main(args, prog_name, complete_var=COMPLETE, **extra)
        extra |= {"standalone_mode": False}
        try:
            code, text = super().main(args, prog_name, **extra), None
        except click.ClickException as error:
            text, code = error.format_message(), error.exit_code
        except click.Abort:
            text, code = "interrupted; the same command goes on", 1
        except Exception as error:
            if os.environ.get("SYNFLOW_DEBUG"):
                raise
            text, code = sentence(error) + remedy(error, prog_name), 1
        except SystemExit as error:  # the module of a model may end the program
            text, code = f"the model's code calls sys.exit({error.code!r})", 1
        if text is not None and launch.speaker():
            is_help = text.startswith("Usage:")  # of a group that was given no command
            line = " ".join(text.split()) if "\n" in text else text
            click.echo(text if is_help else f"Error: {line}", err=True)
        sys.exit(code)


def sentence(error: Exception) -> str:
    """Format an error as one sentence: with the file of a system error, the type of others."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else text
    if isinstance(error, ValueError | FloatingPointError):
        return text
    return f"{type(error).__name__}: {text}"


def remedy(error: object, program: str) -> str:
    """The command that mends an error, if the error has one as its attribute `remedy`."""
    return advice(getattr(error, "remedy", None), program)


def check_packages() -> None:
    """End with one sentence if a module hides one of our packages, or the folder is deleted."""
    try:
        synflow.check_packages(*synflow.PACKAGES)
        os.getcwd()
    except ImportError as error:
        raise click.ClickException(str(error)) from None
    except FileNotFoundError:
        raise click.ClickException("the current folder is deleted; go to another one") from None


@contextmanager
def progress():
    """Yield the progress display: a bar, or nothing with --quiet and on ranks but the first."""
    from experiments.runs.progress import Silent

    shown = launch.speaker() and not wanted("quiet")
    with closing(Bar() if shown else Silent()) as bar:
        bar.begin("starting", None)
        yield bar


def outcome(path: Path) -> Report | None:
    """The outcome of a run and the path of its result file; None on ranks but the first."""
    from experiments.commandline import reports
    from experiments.runs.files import read_result

    if not launch.speaker():
        return None
    result = read_result(path)
    return Report(reports.outcome(result, path), {"result": str(path), **result})


def unfinished(outcomes: Sequence, count: int) -> click.ClickException | None:
    """The error with which a sweep ends; None if all of its runs are finished.

    Args:
        outcomes: Those of the runs that this call worked on.
        count: The number of all runs.
    """
    from experiments.commandline import reports

    undone = [outcome for outcome in outcomes if outcome.state != "finished"]
    if not undone:
        return None
    return click.ClickException(reports.undone(undone, count) + remedy(undone[0], program()))


def program() -> str:
    """The words that started the running command, as in "python cli.py"."""
    return click.get_current_context().find_root().info_name


def checked(ctx: click.Context, device: str) -> Report:
    """Run the checks of selfcheck and print each verdict as it comes; the error is exit code 1."""
    sources = map(ctx.get_parameter_source, ("data_dir", "results"))
    if any(source.name != "DEFAULT" for source in sources):
        raise click.UsageError("--data-dir and --results are for selfcheck --published")
    from experiments.checks.selfcheck import machine, selfcheck

    click.echo(f"selfcheck on {machine(device)}\n")
    found = []
    for check in selfcheck(device):
        click.echo(f"{check.verdict}  {check.name:14} {check.seconds:6.1f} s  {check.detail}")
        found.append(check)
    counts = {v: [c.verdict for c in found].count(v) for v in ("PASS", "FAIL", "SKIP")}
    text = "\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    data = {"machine": machine(device), "checks": found, **counts}
    return Report(text, data, click.exceptions.Exit(1) if counts["FAIL"] else None)


def published(device: str, data_dir: str, results: str) -> Report:
    """The losses of both recipes beside the published losses."""
    from experiments.checks.selfcheck import PUBLISHED_LOSS, losses_by_recipe
    from experiments.commandline import reports

    with progress() as bar:
        losses = losses_by_recipe(device, data_dir, results, bar)
    losses["as published"] = PUBLISHED_LOSS
    return Report(reports.losses(losses, [*PUBLISHED_LOSS]), {"train_loss": losses})


def configured(given: dict):
    """The configuration of a run, from its options; those of `like` are a result file's."""
    from experiments.resolve import resolve

    if (path := given.pop("like", None)) is not None:
        return parse(resolve, parse(option_files.like, path, _with_drops(given)))
    return parse(resolve, _with_drops(given))


def _with_drops(given: dict) -> dict:
    """The options with the epochs of --lr-drops in place of their text."""
    return given | {"lr_drops": parse(epochs_of, given.get("lr_drops"))}


def chosen_device(name: str | None) -> str:
    """The device that an option names; by default CUDA if there is any, else the CPU."""
    from experiments.resolve import device_named

    return parse(device_named, name or "auto")


def parse(make, *arguments, **named):
    """Call `make`; turn a ValueError into a click usage error (exit code 2)."""
    try:
        return make(*arguments, **named)
    except ValueError as error:
        raise click.UsageError(sentence(error)) from None


def run_argument(command):
    """Give a command the argument RUN-DIRECTORY; the result file in it stands for it."""
    kind = click.Path(path_type=Path)
    return click.argument("directory", metavar="RUN-DIRECTORY", type=kind, callback=_run)(command)


def _run(ctx: click.Context, parameter: click.Parameter, path: Path) -> Path:
    return path.parent if path.name == "result.json" else path
