"""Measurements in parts, each a process with a time limit and a page of its own.

A part prints its rows as they come. They go straight into a file, so that a stop loses nothing. A
part whose page was written today by the same code is not repeated.
"""

import hashlib
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple, TextIO

import click
import torch

from benchmarks.rounds import ROOT
from train.data import MissingData, locate

SOURCES = ("*.py", *(f"{f}/**/*.py" for f in ("benchmarks", "experiments", "proofs_tests")))
SOURCES += tuple(f"{folder}/**/*.py" for folder in ("prune", "reference", "train"))
SUFFIX = ".md"  # of the pages
MINUTES = "The limit for all parts together."
DATA = "The folder of fashion-mnist."
SHORTEST = 5  # seconds; with less time left no part is started


class Part(NamedTuple):
    """One process of the measurement."""

    name: str  # of its page
    seconds: float  # its time limit
    arguments: Sequence[str]  # of Python


def options(minutes: float) -> Callable:
    """Make the decorator that adds the options of a command, with this limit by default."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(
            [
                click.option("--minutes", default=minutes, show_default=True, help=MINUTES),
                click.option("--parts", "wanted", help="Only these, comma-separated.  [all]"),
                click.option("--again", is_flag=True, help="Also the parts that are written."),
                click.option("--quick", is_flag=True, help="Tiny: to try the command."),
                click.option("--data-dir", default="data", show_default=True, help=DATA),
            ]
        ):
            command = option(command)
        return command

    return decorate


def measure(
    command: str,
    parts: Sequence[Part],
    folder: Path,
    name: str,
    minutes: float,
    again: bool,
    absent: Mapping[str, str] = {},
) -> None:
    """Run the parts one after the other, and print a line about each.

    Args:
        command: cpu or gpu.
        parts: The parts, in their order.
        folder: The folder of the pages; it is made.
        name: The card or processor, for the first line of a page.
        minutes: The limit for all parts together.
        again: Repeat what is already written.
        absent: name -> reason, of parts that cannot be run here.

    Raises:
        ClickException: If a part did not finish.
    """
    end = time.monotonic() + 60 * minutes
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part's process ends, too
    done = [
        finish(part, folder, header(command, part.name, name), end, again, absent) for part in parts
    ]
    if not all(done):
        raise click.ClickException("not all parts finished; the same command goes on with the rest")


def finish(
    part: Part, folder: Path, head: str, end: float, again: bool, absent: Mapping[str, str]
) -> bool:
    """Run a part unless there is a reason not to; print what came of it.

    Args:
        part: The part.
        folder: The folder of its page.
        head: The first line of its page.
        end: The time at which all parts must have ended.
        again: Repeat what is already written.
        absent: name -> reason, of parts that cannot be run here.

    Returns:
        True if nothing of it is left to do here.
    """
    page, left = folder / f"{part.name}{SUFFIX}", end - time.monotonic()
    if not again and written(page, head):
        done, text = True, f"already in {page}"
    elif part.name in absent:
        done, text = True, f"not run: {absent[part.name]}"
    elif left < SHORTEST:
        done, text = False, f"not started, {max(left, 0):.0f} s are left"
    else:
        done, text = run(part, page, head, min(part.seconds, left))
    click.echo(f"{part.name}: {text}")
    return done


def without_data(part: str, data_dir: str) -> dict[str, str]:
    """Return {part: reason} if fashion-mnist, which it needs, cannot be read."""
    try:
        locate("fashion-mnist", Path(data_dir))
    except MissingData as missing:
        return {part: str(missing)}
    return {}


def slug(name: str) -> str:
    """Shorten a card's name to that of a folder: NVIDIA H200 to h200."""
    return re.sub(r"\W+", "-", name.lower().removeprefix("nvidia")).strip("-")


def choose(parts: list[Part], wanted: str | None) -> list[Part]:
    """Return the parts with these names, in their own order.

    Raises:
        ClickException: If a name is not that of a part.
    """
    names = [part.name for part in parts]
    chosen = wanted.split(",") if wanted else names
    if unknown := [name for name in chosen if name not in names]:
        raise click.ClickException(f"--parts {unknown[0]}: the parts are {', '.join(names)}")
    return [part for part in parts if part.name in chosen]


# ---- pages ----------------------------------------------------------------------------------


def header(command: str, part: str, name: str) -> str:
    """Return the first line of a page: command, card or processor, versions, day and code."""
    python, day = platform.python_version(), date.today().isoformat()
    where = f"on {name}, torch {torch.__version__}, Python {python}"
    return f"`python -m benchmarks {command} --parts {part}` {where}, {day}, code {code()}"


def code() -> str:
    """Hash all source files, since a copy on a rented machine has no git."""
    paths = sorted({path for pattern in SOURCES for path in ROOT.glob(pattern)})
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def written(page: Path, head: str) -> bool:
    """True if the page was finished today, on this card and by this code."""
    return page.exists() and page.read_text().startswith(head + "\n")


def run(part: Part, page: Path, head: str, limit: float) -> tuple[bool, str]:
    """Run a part; return True if it finished, and a sentence about it.

    Until then its output is in a file of its own, and an earlier page stays.
    """
    draft = page.with_name(f"{part.name}-unfinished{SUFFIX}")
    start = time.monotonic()
    with open(draft, "w") as file:
        file.write(f"{head}\n\nLoad of the machine before: {load()}\n\n")
        file.flush()
        status = ended(part.arguments, file, limit)
        end = sentence(status, limit, time.monotonic() - start)
        file.seek(0, os.SEEK_END)  # the process has moved the end of the file
        file.write(f"\n{end}\n")
    if status == 0:
        draft.replace(page)
    return status == 0, f"{end} {page if status == 0 else draft}"


def load() -> str:
    """Return the average number of busy processes in the last 1, 5 and 15 minutes."""
    return ", ".join(f"{average:.1f}" for average in os.getloadavg())


def sentence(status: int | None, limit: float, seconds: float) -> str:
    """Describe the end of a part."""
    if status is None:
        return f"Stopped after {limit:.0f} s."
    if status != 0:
        return f"Failed with status {status} after {seconds:.0f} s."
    return f"Finished in {seconds:.0f} s."


def ended(arguments: Sequence[str], file: TextIO, limit: float) -> int | None:
    """Run Python with its output in a file; return its status, or None at the limit.

    A session of its own, so that the processes it started end with it.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=file,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
