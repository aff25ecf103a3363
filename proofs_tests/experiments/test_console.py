"""The display of progress: a bar on terminals of any width, lines in a file, and what is said."""

import os
import re
import subprocess

import pytest
from click.testing import CliRunner

from cli import main
from experiments.commandline import console
from experiments.runs.run import run
from proofs_tests.tools.runs import ONE_THREAD, command, configured
from train import loop

pytestmark = pytest.mark.usefixtures("one_thread")


class Heard:
    """A Progress that remembers the stages, their ticks and the notes."""

    def __init__(self):
        self.stages: list[list] = []
        self.notes: list[str] = []

    def begin(self, label: str, length: int | None) -> None:
        self.stages.append([label, length, 0])

    def tick(self, count: int = 1) -> None:
        self.stages[-1][2] += count

    def note(self, text: str) -> None:
        self.notes.append(text)


def shown(columns: int, *arguments: str) -> str:
    """Run a command in a terminal of so many columns; return what it writes there."""
    pty, termios, fcntl = (pytest.importorskip(name) for name in ("pty", "termios", "fcntl"))
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, bytes([24, 0, columns, 0, 0, 0, 0, 0]))
    given = ONE_THREAD | {"TERM": "xterm", "COLUMNS": ""}
    process = subprocess.Popen(arguments, stdout=follower, stderr=follower, env=given)
    os.close(follower)
    text = b""
    try:
        while part := os.read(leader, 4096):
            text += part
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert process.wait() == 0, text.decode()
    return re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", text.decode())


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_a_bar_is_one_line_of_a_terminal(tmp_path, columns):
    text = shown(columns, *command(tmp_path, "--epochs", "0"))
    bars = re.findall(r"pruning to 1/10  \[[^\r\n]*", text)
    assert len(bars) > 20 and "100%" in bars[-1]
    assert max(map(len, bars)) <= columns
    between = text[text.index(bars[0]) : text.index(bars[-1])]
    assert "\n" not in between


def test_in_a_file_there_is_a_line_a_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    bar = console.Bar()
    bar.begin("training", 100)
    for _ in range(90):
        now[0] += 1.5  # seconds; 135 in all
        bar.tick()
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training"
    assert [line.partition(",")[0] for line in lines[1:]] == [
        "training: 40 of 100",
        "training: 80 of 100",
    ]


def test_every_batch_of_training_and_of_evaluations_ticks(tmp_path):
    heard = Heard()
    run(configured(tmp_path, epochs=2), heard)
    assert [stage[0] for stage in heard.stages][-2:] == ["evaluating before training", "training"]
    assert all(length == ticks for _, length, ticks in heard.stages[-2:])
    assert heard.stages[-2][1] == 1 and heard.stages[-1][1] == 2 * (23 + 1)


def test_a_resumed_run_says_where_it_goes_on(tmp_path, monkeypatch):
    config = configured(tmp_path, epochs=3, lr_drops=())
    whole, done = loop.train_epoch, []

    def two_epochs(*given):
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(loop, "train_epoch", two_epochs)
    with pytest.raises(KeyboardInterrupt):
        run(config, Heard())
    monkeypatch.undo()
    heard = Heard()
    run(config, heard)
    assert "goes on after epoch 2 of 3" in heard.notes
    assert heard.stages[-1] == ["training", 23 + 1, 23 + 1]


def test_a_finished_run_says_so(tmp_path):
    given = ["run", "--epochs", "0", "--results", str(tmp_path)]
    first, second = (CliRunner().invoke(main, given) for _ in range(2))
    assert "not repeated" not in first.stderr
    assert second.stderr == "this run is finished; it is not repeated\n"
    assert first.stdout == second.stdout
