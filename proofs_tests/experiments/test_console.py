"""The display of progress: a bar on terminals of any width, lines in a file, and what is said."""

import io
import os
import re
import time

import pytest
from click.testing import CliRunner

from cli import main
from experiments.commandline import bar
from experiments.runs import diagnosis, untrained
from experiments.runs.export import export
from experiments.runs.imp import imp
from experiments.runs.run import run
from experiments.sweeps.sweep import sweep
from proofs_tests.tools import forks
from proofs_tests.tools.runs import configured, interrupted_in

pytestmark = pytest.mark.usefixtures("one_thread")


class Heard:
    """A Progress that remembers the stages, their ticks and the notes."""

    def __init__(self):
        self.stages: list[list] = []
        self.notes: list[str] = []

    def begin(self, label: str, length: int | None, alike: bool = True) -> None:
        self.stages.append([label, length, 0])

    def tick(self, count: int = 1) -> None:
        self.stages[-1][2] += count

    def note(self, text: str) -> None:
        self.notes.append(text)


def shown(columns: int, words: list[str]) -> str:
    """Run a command of ours in a terminal of so many columns; return what it writes there."""
    pty, termios, fcntl = (pytest.importorskip(name) for name in ("pty", "termios", "fcntl"))
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, bytes([24, 0, columns, 0, 0, 0, 0, 0]))
    process = forks.on_terminal(os.ttyname(follower), words)
    begun = os.read(leader, 1)
    os.close(follower)
    text = begun
    try:
        while part := os.read(leader, 4096):
            text += part
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert forks.exit_code(process) == 0, text.decode()
    return re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", text.decode())


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_a_bar_is_one_line_of_a_terminal(tmp_path, columns):
    text = shown(columns, ["run", "--results", str(tmp_path), "--device", "cpu", "--epochs", "0"])
    bars = re.findall(r"pruning to 1/10  \[[^\r\n]*", text)
    assert len(bars) > 20 and "100%" in bars[-1]
    assert max(map(len, bars)) <= columns
    between = text[text.index(bars[0]) : text.index(bars[-1])]
    assert "\n" not in between


@pytest.mark.parametrize("alike", [True, False])
def test_in_a_file_there_is_a_line_a_minute(monkeypatch, capsys, alike):
    """With an estimate if the ticks are alike."""
    now = [0.0]
    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    shown = bar.Bar()
    shown.begin("training", 100, alike)
    for _ in range(90):
        now[0] += 1.5  # seconds; 135 in all
        shown.tick()
    shown.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training"
    assert [line.partition(",")[0] for line in lines[1:]] == [
        "training: 40 of 100",
        "training: 80 of 100",
    ]
    assert [line.endswith(" left") for line in lines[1:]] == [alike, alike]


class Terminal(io.StringIO):
    """A stderr that is a terminal, or a file."""

    def __init__(self, is_terminal: bool):
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "begin", "end"), [(True, "\r\033[K", ""), (False, "", "\n")]
)
def test_a_stage_without_ticks_shows_its_seconds(monkeypatch, is_terminal, begin, end):
    """Nothing at once, nothing after it; on a terminal its line is overwritten and erased."""
    monkeypatch.setattr(bar, "SECOND" if is_terminal else "MINUTE", 0.02)
    monkeypatch.setattr(bar.sys, "stderr", stderr := Terminal(is_terminal))
    shown = bar.Bar()
    shown.begin("saving", None)
    assert stderr.getvalue() == ""
    time.sleep(0.3)
    shown.begin("timing", None)
    text, lines = stderr.getvalue(), stderr.getvalue().count("saving  0:00:00")
    assert lines >= 3 and text == f"{begin}saving  0:00:00{end}" * lines + begin
    shown.close()


def test_every_batch_of_training_and_of_evaluations_ticks(tmp_path):
    heard = Heard()
    run(configured(tmp_path, epochs=2), heard)
    assert [stage[0] for stage in heard.stages][-2:] == ["evaluating before training", "training"]
    assert all(length == ticks for _, length, ticks in heard.stages[-2:])
    assert heard.stages[-2][1] == 1 and heard.stages[-1][1] == 2 * (23 + 1)


def test_a_resumed_run_says_where_it_goes_on(tmp_path, monkeypatch):
    config = configured(tmp_path, epochs=3, lr_drops=())
    with interrupted_in(epoch=3):
        run(config, Heard())
    heard = Heard()
    monkeypatch.setattr(untrained, "evaluate", None)  # a call would be a TypeError
    run(config, heard)
    assert "goes on after epoch 2 of 3" in heard.notes
    assert heard.stages[-1] == ["training", 23 + 1, 23 + 1]


@pytest.mark.parametrize("act", ["export", "diagnose"])
def test_every_stage_of_export_and_diagnose_is_announced(tmp_path, act):
    config, heard = configured(tmp_path, epochs=0), Heard()
    if act == "export":
        export(run(config).parent, "cpu", progress=heard)
        assert heard.stages[-1] == ["timing both", 44, 44]
    else:
        diagnosis.diagnose(config, heard)
    assert [label for label, *_ in heard.stages][:3] == {
        "export": ["checking the run", "making the smaller network", "saving it"],
        "diagnose": ["building the network", "diagnosing"],
    }[act]


def test_a_quick_command_shows_no_progress_in_a_file():
    done = CliRunner().invoke(main, ["diagnose"])
    assert done.exit_code == 0 and done.stderr == ""


def test_finished_sweeps_and_cycles_say_so(tmp_path):
    config = configured(tmp_path, epochs=1, lr_drops=(), cycles=2, compression=4.0)
    imp(config)
    sweep([config], 1, heard := Heard())
    assert heard.notes == ["all 1 runs are finished; none is repeated"]
    (config.directory / "result.json").unlink()
    imp(config, heard := Heard())
    assert [note for note in heard.notes if "cycle" in note] == [
        f"cycle {k} of 2 is finished; it is not repeated" for k in (1, 2)
    ]


def test_a_finished_run_says_so(tmp_path):
    given = ["run", "--epochs", "0", "--results", str(tmp_path)]
    first, second = (CliRunner().invoke(main, given) for _ in range(2))
    assert "not repeated" not in first.stderr
    assert second.stderr == "this run is finished; it is not repeated\n"
    assert first.stdout == second.stdout
