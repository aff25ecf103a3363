"""Warnings of pruning: plain lines on stderr, sentences in the result, none of Python's noise."""

import json
import warnings

import pytest
from click.testing import CliRunner

from cli import main
from experiments.runs import run as module
from experiments.runs.files import read_result
from experiments.runs.imp import imp
from experiments.runs.notes import heard
from experiments.runs.progress import Silent
from experiments.runs.run import run
from proofs_tests.tools.runs import Killed, Killer, configured
from prune import prune
from prune.notices import LayerCollapse, NoFlow, Uncovered

pytestmark = pytest.mark.usefixtures("one_thread")
SAID = {
    LayerCollapse: "after step 1 of 1 no path is left",
    Uncovered: "not covered: position (3 % of the weights)",
    NoFlow: "no flow passes through gate.weight",
}


@pytest.fixture
def warned(monkeypatch) -> None:
    """A `prune` that warns of everything, of one thing twice."""

    def loud(*arguments, **options):
        for category, text in [*SAID.items(), (NoFlow, SAID[NoFlow])]:
            warnings.warn(text, category, stacklevel=2)
        return prune(*arguments, **options)

    monkeypatch.setattr(module, "prune", loud)


LINE = ["run", "--epochs", "0", "--steps", "3", "--results"]


def test_a_run_says_each_once_in_a_line_of_its_own(tmp_path, warned, recwarn):
    outcome = CliRunner().invoke(main, [*LINE, str(tmp_path)])
    lines = outcome.stderr.splitlines()
    assert [lines.count(text) for text in SAID.values()] == [0, 1, 1]
    assert "Warning" not in outcome.stderr and len(recwarn) == 0
    (path,) = tmp_path.glob("*/result.json")
    assert read_result(path)["notes"] == list(SAID.values())
    shown = CliRunner().invoke(main, ["inspect", str(path.parent)]).stdout.splitlines()
    assert shown[-3:] == list(SAID.values())


def test_an_interrupted_run_goes_on_with_its_notes(tmp_path, warned):
    config = configured(tmp_path, epochs=1)
    with pytest.raises(Killed):
        run(config, Killer(12))
    assert (config.directory / "masks.npz").exists()
    assert not (config.directory / "result.json").exists()
    assert read_result(run(config))["notes"] == list(SAID.values())


def test_a_run_without_notes_says_so_and_its_masks_have_none(finished):
    assert json.loads((finished / "result.json").read_text())["notes"] == []
    assert b"__notes" not in (finished / "masks.npz").read_bytes()


def test_a_collapsed_run_prints_no_warning_of_python(tmp_path, recwarn):
    line = ["run", "--pruner", "magnitude", "--compression", "1000", "--epochs", "0"]
    outcome = CliRunner().invoke(main, [*line, "--results", str(tmp_path)])
    assert "NOT connected (layer-collapse)" in outcome.stdout
    assert "arning" not in outcome.stderr and len(recwarn) == 0


ODD = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(8, 8))
        self.gate, self.first = nn.Linear(64, 30), nn.Linear(64, 30)
        self.last = nn.Linear(30, 10)
        nn.init.zeros_(self.last.weight)
    def forward(self, x):
        x = (x[:, 0] + self.position).flatten(1)
        return self.last(torch.nn.functional.gelu(self.first(x)) * self.gate(x).sigmoid())
def net(): return Net()
"""


@pytest.fixture
def odd(tmp_path, monkeypatch) -> str:
    """The name of a network with a gate, a GELU, a bare parameter and a last layer of zeros."""
    (tmp_path / "odd_network.py").write_text(ODD)
    monkeypatch.syspath_prepend(tmp_path)
    return "odd_network:net"


def test_the_result_of_synflow_tells_what_it_read_how(tmp_path, odd, recwarn):
    line = ["run", "--model", odd, "--epochs", "0", "--results", str(tmp_path / "there")]
    outcome = CliRunner().invoke(main, line)
    (path,) = tmp_path.glob("there/*/result.json")
    notes = read_result(path)["notes"]
    assert "gelu as ReLU (1 times)" in notes[0] and "an open gate (1 times)" in notes[0]
    assert "position" in notes[1] and "gate.weight" in notes[3] and len(notes) == 4
    assert notes[2].startswith("last.weight is 0 throughout (zero-initialised)")
    shown = outcome.stderr.splitlines()
    assert [note for note in notes if note in shown] == notes[1:] and len(recwarn) == 0


def test_other_scores_and_cycles_tell_what_is_not_covered(tmp_path, odd, recwarn):
    given = {"model": odd, "pruner": "random", "steps": 1}
    (note,) = read_result(run(configured(tmp_path / "a", **given, epochs=0)))["notes"]
    cycled = configured(tmp_path / "b", model=odd, steps=None, cycles=1, epochs=1)
    assert read_result(imp(cycled))["notes"] == [note] and "position" in note
    given["exclude"] = ("position",)
    assert read_result(run(configured(tmp_path / "c", **given, epochs=0)))["notes"] == []
    assert len(recwarn) == 0


def test_other_warnings_go_their_usual_way():
    notes: list[str] = []
    with pytest.warns(UserWarning, match="of another kind"), heard(notes, Silent()):
        warnings.warn("of another kind", stacklevel=1)
    assert notes == []
    with pytest.warns(NoFlow):  # after the block it is a warning again
        warnings.warn(SAID[NoFlow], NoFlow, stacklevel=1)
