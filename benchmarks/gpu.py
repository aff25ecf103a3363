"""`python -m benchmarks gpu`: measure one card in parts, each with a time limit and a page.

A part is a process that prints its rows as they come. They go straight into a file, so that a stop
loses nothing. A part whose page was written today by the same code is not repeated.
"""

import hashlib
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
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
SHORTEST = 5  # seconds; with less time left no part is started


class Part(NamedTuple):
    """One process of the measurement."""

    name: str  # of its page
    seconds: float  # its time limit
    arguments: Sequence[str]  # of Python


def measurements(device: str, quick: bool, networks: Sequence[str]) -> list[Part]:
    """List the parts that need no data set, in their order."""
    how = ["--device", device, *(["--quick"] if quick else [])]
    tests = ["-m", "pytest", "-m", "gpu", "-q", "-o", "addopts=", "proofs_tests"]
    parts = "benchmarks.gpu_parts"
    return [
        Part("selfcheck", 200, ["cli.py", "selfcheck", "--device", device]),
        Part("tests", 120, [*tests, "-p", "no:cacheprovider"]),
        *(Part(f"synflow-{n}", 110, ["-m", parts, "synflow", n, *how]) for n in networks),
        Part("steps", 120, ["-m", parts, "steps", *how]),
    ]


def accuracies(device: str, quick: bool, data_dir: str, folder: Path) -> Part:
    """Make the part of Figure 6, which keeps its runs and goes on where it was stopped."""
    how = ["--device", device, *(["--quick"] if quick else [])]
    places = ["--data-dir", str(Path(data_dir).resolve()), "--results", str(folder / "runs")]
    return Part("figure6", 600, ["-m", "benchmarks.gpu_parts", "figure6", *how, *places])


@click.command()
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N, or cpu for a try.")
@click.option("--minutes", default=8.0, show_default=True, help="The limit for all parts together.")
@click.option("--parts", "wanted", help="Only these, comma-separated.  [all]")
@click.option("--again", is_flag=True, help="Also the parts that are written.")
@click.option("--quick", is_flag=True, help="Tiny networks and few steps: to try the command.")
@click.option(
    "--to", default=str(ROOT / "results/measured"), help="The folder of the card's folder."
)
@click.option("--data-dir", default="data", show_default=True, help="The folder of fashion-mnist.")
def gpu(device, minutes, wanted, again, quick, to, data_dir) -> None:
    """Measure all there is to measure on one card, in parts, into TO/CARD."""
    end = time.monotonic() + 60 * minutes
    name = card(device)
    folder = Path(to).resolve() / slug(name)
    networks = ("mlp",) if quick else ("vgg16", "resnet18", "resnet50")
    parts = measurements(device, quick, networks)
    chosen = choose([*parts, accuracies(device, quick, data_dir, folder)], wanted)
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part's process ends, too
    reason = None if quick else without_data(data_dir)
    absent = {"figure6": reason} if reason else {}
    done = [
        finish(
            part,
            (folder / part.name).with_suffix(SUFFIX),
            header(part.name, name),
            end,
            again,
            absent,
        )
        for part in chosen
    ]
    if not all(done):
        raise click.ClickException("not all parts finished; the same command goes on with the rest")


def finish(
    part: Part, page: Path, head: str, end: float, again: bool, absent: dict[str, str]
) -> bool:
    """Run a part unless there is a reason not to; print what came of it.

    Args:
        part: The part.
        page: Its page.
        head: The first line of its page.
        end: The time at which all parts must have ended.
        again: Repeat what is already written.
        absent: name -> reason, of parts that cannot be run here.

    Returns:
        True if nothing of it is left to do here.
    """
    left = end - time.monotonic()
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


def card(device: str) -> str:
    """Name the card, or the processor of a try.

    Raises:
        ClickException: If there is no such device.
    """
    if device == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise click.ClickException(
            f"--device {device}: torch {torch.__version__} finds no CUDA device here; "
            "run this on a machine with one, or try it by --device cpu --quick"
        )
    try:
        return torch.cuda.get_device_name(device)
    except (AssertionError, RuntimeError, ValueError) as error:
        count = torch.cuda.device_count()
        raise click.ClickException(f"--device {device}: there are {count} CUDA devices") from error


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


def without_data(data_dir: str) -> str | None:
    """Give the reason why fashion-mnist cannot be read, if there is one."""
    try:
        locate("fashion-mnist", Path(data_dir))
    except MissingData as missing:
        return str(missing)
    return None


# ---- pages ----------------------------------------------------------------------------------


def header(part: str, name: str) -> str:
    """Return the first line of a page: part, card, versions, day and code."""
    python, day = platform.python_version(), date.today().isoformat()
    where = f"on {name}, torch {torch.__version__}, Python {python}"
    return f"`python -m benchmarks gpu --parts {part}` {where}, {day}, code {code()}"


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
        file.write(f"{head}\n\n")
        file.flush()
        status = ended(part.arguments, file, limit)
        end = sentence(status, limit, time.monotonic() - start)
        file.seek(0, os.SEEK_END)  # the process has moved the end of the file
        file.write(f"\n{end}\n")
    if status == 0:
        draft.replace(page)
    return status == 0, f"{end} {page if status == 0 else draft}"


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
