"""Read the shell commands and the files of a page of docs/, and run them as a reader would."""

import re
import shlex
import subprocess
import sys
from glob import glob
from pathlib import Path

import click
from click.testing import CliRunner

from cli import main
from proofs_tests.tools import ROOT

BLOCK = re.compile(r"^(<!-- heavy -->\n)?^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLED = re.compile(r'^```python title="(.*?)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def own_pages() -> list[str]:
    """The pages that stand in docs/."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


def commands(page: str, heavy: bool) -> list[list[str]]:
    """The words of each command of a page, of the blocks that are heavy or of the others."""
    blocks = BLOCK.findall((ROOT / page).read_text())
    lines = [line for mark, text in blocks if bool(mark) == heavy for line in text.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def write_files(page: str, folder: Path) -> None:
    """Write the blocks of Python with a title as files of that name."""
    for name, text in TITLED.findall((ROOT / page).read_text()):
        (folder / name).write_text(text)


def execute(words: list[str]) -> str:
    """Run one command in the current folder; return what it prints."""
    program, *arguments = [name for word in words for name in sorted(glob(word)) or [word]]
    if program == "synflow":
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, f"{shlex.join(words)}: {done.output}"
        return done.output
    assert program == "python", words
    python = [sys.executable, *arguments]
    return subprocess.run(python, capture_output=True, text=True, check=True, timeout=300).stdout


def parsed(words: list[str]) -> str | None:
    """Read the options of one of our commands without running it; return the command's name."""
    for start in (["synflow"], ["python", "cli.py"]):
        if words[: len(start)] == start:
            words = words[len(start) :]
            break
    else:
        if words[0] != "torchrun":
            return None
        words = words[words.index("cli.py") + 1 :]
    command: click.Command = main
    while isinstance(command, click.Group):
        name, *words = words
        command = command.commands[name]
    command.make_parser(click.Context(command)).parse_args(list(words))
    return command.name
