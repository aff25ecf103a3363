"""The output of a command: a report on stdout, as text or as one JSON object, or none.

Each command returns a `Report` and prints nothing itself. Imports no torch.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import IO, NamedTuple

import click

from train import launch

OUTPUTS = {  # option -> help
    "json": "Print one JSON object on stdout instead of the text.",
    "quiet": "Print only errors.",
}
HELP_OPTIONS = ["-h", "--help"]
REPORTERS = ("inspect", "diagnose", "score", "list")  # commands that only report: never quiet
REPORTING = ("dry_run", "status")  # options of a sweep that only reports


class Report(NamedTuple):
    """The outcome of a command."""

    text: str
    data: Mapping[str, object]  # the same for scripts, printed as JSON
    error: Exception | None = None  # raised after the report is printed


def advice(command: str | None, program: str) -> str:
    """The words that add the command that mends an error, if there is one."""
    return f"; run `{program} {command}`" if command else ""


class Reporting(click.Command):
    """A command that prints the report that its function returns, as --json or --quiet want it."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.context_settings.setdefault("help_option_names", HELP_OPTIONS)
        names = [name for name in OUTPUTS if name == "json" or self.name not in REPORTERS]
        self.params += [_option(name) for name in names]

    def invoke(self, ctx: click.Context) -> None:
        _refuse(ctx)
        with _stdout_aside(ctx):
            report = super().invoke(ctx)
        if report is None or not launch.speaker():
            return
        if wanted("json", ctx):
            click.echo(json.dumps(plain(report.data), allow_nan=False))
        elif not wanted("quiet", ctx):
            click.echo(report.text)
        if report.error is not None:
            raise report.error


class Commands(click.Group):
    """A group of such commands."""

    command_class = Reporting


def wanted(name: str, ctx: click.Context | None = None) -> bool:
    """True if the option of this name in OUTPUTS is given to the command that runs."""
    ctx = ctx or click.get_current_context(silent=True)
    return ctx is not None and ctx.meta.get(_key(name), False)


def plain(value: object) -> object:
    """The value as JSON has it: texts, numbers, lists and objects; null where a float is none."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def _key(name: str) -> str:
    return f"{__name__}.{name}"


def _option(name: str) -> click.Option:
    """The option, which is no argument of the command's function."""

    def remember(ctx: click.Context, option: click.Parameter, given: bool) -> None:
        ctx.meta[_key(name)] = given

    return click.Option(
        [f"--{name}"], is_flag=True, help=OUTPUTS[name], callback=remember, expose_value=False
    )


def _refuse(ctx: click.Context) -> None:
    """Refuse --quiet where it would silence all that the command is for."""
    if not wanted("quiet", ctx):
        return
    if wanted("json", ctx):
        raise click.UsageError("--quiet cannot be combined with --json, whose object is a report")
    for name in REPORTING:
        if ctx.params.get(name):
            option = name.replace("_", "-")
            raise click.UsageError(f"--quiet cannot be combined with --{option}, which reports")


@contextmanager
def _stdout_aside(ctx: click.Context) -> Iterator[None]:
    """Keep stdout for the report, while this process, a model's code and workers write to it.

    With --json their lines go to stderr, with --quiet nowhere; otherwise they stay.
    """
    json_wanted = wanted("json", ctx)
    if not (json_wanted or wanted("quiet", ctx)):
        yield
        return
    with nullcontext(sys.stderr) if json_wanted else open(os.devnull, "w") as stream:
        with _descriptor_aside(2 if json_wanted else stream.fileno()), redirect_stdout(stream):
            yield


@contextmanager
def _descriptor_aside(other: int) -> Iterator[None]:
    """Lead descriptor 1, which child processes inherit, to another descriptor."""
    out: IO[str] = sys.stdout
    out.flush()
    saved = os.dup(1)
    os.dup2(other, 1)
    try:
        yield
    finally:
        out.flush()
        os.dup2(saved, 1)
        os.close(saved)
