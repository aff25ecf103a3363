"""Refusals before any work: no folder is made for a run that cannot end well."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from experiments import unbuilt
from experiments.config import RunConfig
from experiments.resolve import resolve
from experiments.sweeps.workers import attempt

pytestmark = pytest.mark.usefixtures("one_thread")
LONG = 10**400
NETS = """
import sys
from torch import nn
class Net(nn.Module):
    def __init__(self, name="a"):
        super().__init__()
        self.norm = nn.BatchNorm1d(30)
        self.add_module(name, nn.Linear(64, 30))
        self.b = nn.Linear(30, 10)
        self.name = name
    def forward(self, x): return self.b(self.norm(getattr(self, self.name)(x.flatten(1))))
def hidden(): return Net("__run")
def frozen(): return Net().requires_grad_(False)
def quits(): sys.exit(0)
class Quits(Net):
    def forward(self, x): sys.exit("no more")
"""


def call(*arguments: object):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture
def nets(tmp_path, monkeypatch) -> Path:
    """A folder with networks of a user; the folder `there` is for results."""
    (tmp_path / "nets22.py").write_text(NETS)
    (tmp_path / "script22.py").write_text("import sys\ndef make(): pass\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


REFUSED = {
    "hidden": ([], "the name of __run.weight begins with __"),
    "frozen": ([], "all parameters are frozen"),
    "quits": ([], "cannot be made: it calls sys.exit(0)"),
    "Quits": ([], "it calls sys.exit('no more')"),
    "Net": (["--batch-size", 4], "with --batch-size 4 a batch of the 1437 images has 1 image"),
    "Net ": (["--batch-size", 1], "has 1 image"),
    "Net  ": (["--steps", 2221], "at most 2220, not 2221: the network has 2220"),
}


@pytest.mark.parametrize("name, given, text", [(n.strip(), *v) for n, v in REFUSED.items()])
def test_a_network_is_refused_before_any_work(nets, name, given, text):
    line = ["--model", f"nets22:{name}", "--epochs", 1, *given, "--results", nets / "there"]
    outcome = call("run", *line)
    assert outcome.exit_code == 1 and text in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1 and not (nets / "there").exists()


def test_a_last_batch_of_one_is_nothing_to_a_network_without_batch_norm(nets):
    line = ["--epochs", 1, "--steps", 1, "--batch-size", 4, "--results", nets / "there"]
    assert call("run", *line).exit_code == 0


def test_a_script_that_is_named_as_a_model(nets):
    outcome = call("run", "--model", "script22:make", "--results", nets / "there")
    assert outcome.exit_code == 1 and not (nets / "there").exists()
    assert outcome.stderr == (
        "Error: model 'script22:make' cannot be imported: it calls sys.exit(0)\n"
    )


def test_a_run_of_a_sweep_that_ends_the_program_is_a_failed_one(nets, monkeypatch):
    def ends(config):
        raise SystemExit(0)

    monkeypatch.setattr("experiments.sweeps.workers.perform", ends)
    assert attempt(RunConfig()).state == "failed"


def test_code_of_a_model_that_ends_the_program_later_gives_exit_code_1(monkeypatch):
    def ends(*_):
        raise SystemExit(0)

    monkeypatch.setattr("experiments.runs.run.run", ends)
    outcome = call("run")
    assert outcome.exit_code == 1 and "sys.exit(0)" in outcome.stderr


@pytest.mark.parametrize(
    "given, text",
    [
        ({"steps": 2**64}, "--steps must be below 2^63, not a number of 20 digits"),
        ({"steps": 50_201}, "--steps and --cycles must be at most 50200, not 50201"),
        ({"cycles": 2**64}, "--cycles must be below 2^63"),
        ({"epochs": 2**31}, "--epochs must be at most 1,000,000, not 2,147,483,648"),
        ({"epochs": -LONG}, "--epochs must be at least 0, not a number of 401 digits"),
        ({"seed": LONG}, "--seed must be below 2^63"),
        ({"batch_size": LONG}, "--batch-size must be below 2^63"),
        ({"train_images": LONG}, "not a number of 401 digits"),
        ({"lr_drops": (LONG,)}, "not a number of 401 digits"),
        ({"width": 1e12}, "--width 1e+12 makes the network too large"),
        ({"width": 1e30}, "--width 1e+30 makes the network too large"),
        ({"width": 1e30, "model": "resnet20"}, "--width 1e+30 makes the network too large"),
    ],
)
def test_numbers_that_no_machine_can_serve(given, text):
    with pytest.raises(ValueError) as error:
        resolve(given)
    assert text in str(error.value) and len(str(error.value)) < 200


def test_a_network_that_does_not_fit_in_memory(monkeypatch):
    monkeypatch.setattr(unbuilt, "memory", lambda: 4 * 50_200 - 1)
    with pytest.raises(ValueError, match="50,200 weights need"):
        resolve({})
    monkeypatch.setattr(unbuilt, "memory", lambda: 4 * 50_200)
    assert resolve({}).width == 1


def test_a_small_network_takes_the_usual_steps():
    assert resolve({"width": 1e-300, "compression": 2}).steps == 100


def test_more_processes_than_runs():
    line = ("sweep", "--seeds", 0, "--epochs", 0, "--dry-run", "--jobs")
    assert call(*line, 10**15).exit_code == 0
    outcome = call(*line, LONG)
    assert outcome.exit_code == 2 and "not a number of 401 digits" in outcome.stderr


def test_a_sweep_without_its_data_set_is_refused_once(tmp_path):
    places = ("--data-dir", tmp_path / "data", "--results", tmp_path / "there")
    outcome = call("sweep", "--datasets", "digits,cifar10", *places)
    assert outcome.exit_code == 1 and not (tmp_path / "there").exists()
    assert outcome.stderr.startswith("Error: cifar10 (") and outcome.stderr.count("\n") == 1
    assert "data fetch cifar10" in outcome.stderr


def test_a_deleted_current_folder(tmp_path):
    before = os.getcwd()
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        outcome = call("run", "--epochs", 0)
    finally:
        os.chdir(before)
    assert outcome.exit_code == 1
    assert outcome.stderr == "Error: the current folder is deleted; go to another one\n"
