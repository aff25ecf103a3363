"""Read the shell commands and the files of a page, and run them as a reader would."""

import os
import re
import shlex
import subprocess
import sys
from glob import glob
from pathlib import Path

import click
from click.testing import CliRunner

from cli import main
from docs.gather import pages
from proofs_tests.tools import ROOT

SHELL = r"^(<!-- heavy[^>\n]*-->\n)?^```(?:sh|bash)\n(.*?)^```$"
BLOCK = re.compile(SHELL, re.MULTILINE | re.DOTALL)
TITLED = re.compile(r'^```python title="(.*?)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


PAGES = [name for name in pages() if name.endswith(".md") and "results/measured" not in name]


def commands(page: str, heavy: bool, word: str = "") -> list[list[str]]:
    """The words of each command of a page: of heavy blocks, `word` in their mark, or of others."""
    blocks = BLOCK.findall((ROOT / page).read_text().replace("\\\n", " "))
    chosen = [text for mark, text in blocks if bool(mark) == heavy and word in mark]
    lines = [line for text in chosen for line in text.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def write_files(page: str, folder: Path) -> None:
    """Write the blocks of Python with a title as files of that name."""
    for name, text in TITLED.findall((ROOT / page).read_text()):
        (folder / name).write_text(text)


def execute(words: list[str]) -> str:
    """Run one command in the current folder; return what it prints."""
    words = [name for word in words for name in sorted(glob(word)) or [word]]
    if arguments := ours(words):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, f"{shlex.join(words)}: {done.output}"
        return done.output
    assert words[0] == "python", words
    python, here = [sys.executable, *words[1:]], os.environ | {"PYTHONPATH": str(ROOT)}
    given = {"capture_output": True, "text": True, "check": True, "timeout": 300}
    return subprocess.run(python, env=here, **given).stdout


def ours(words: list[str]) -> list[str] | None:
    """The arguments of our program, None if the command is another one."""
    for start in (["synflow"], ["python", "cli.py"]):
        if words[: len(start)] == start:
            return words[len(start) :]
    return words[words.index("cli.py") + 1 :] if words[0] == "torchrun" else None


def parsed(words: list[str]) -> str | None:
    """Read the options of one of our commands without running it; return the command's name."""
    words = ours(words)
    if words is None:
        return None
    command: click.Command = main
    while isinstance(command, click.Group):
        name, *words = words
        command = command.commands[name]
    command.make_parser(click.Context(command)).parse_args(list(words))
    return command.name
