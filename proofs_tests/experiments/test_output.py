"""`--json`: one object on stdout, of each command; `--quiet`: errors only."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result

from cli import main
from experiments.checks import selfcheck
from experiments.commandline.output import REPORTERS, Report, plain
from experiments.runs.inspection import Inspection
from experiments.sweeps import status
from proofs_tests.tools import ROOT
from proofs_tests.tools.runs import ONE_THREAD

pytestmark = pytest.mark.usefixtures("one_thread")

GRID = "sweep --pruners magnitude,random --compressions 10 --seeds 0 --epochs 0 --device cpu"
LINES = {  # a command that takes a second at most -> entries of its object
    "run --steps 3 --epochs 1 --device cpu": {"result", "config", "kept", "final", "density"},
    "imp --cycles 1 --epochs 1 --device cpu": {"result", "cycles", "final"},
    GRID: {"runs", "summary"},
    f"{GRID} --dry-run": {"runs"},
    f"{GRID} --status": {"runs", *status.STATUSES},
    "inspect RUN": {*Inspection._fields} - {"networks"},
    "report RUN": {"report"},
    "diagnose": {"R", "layers", "theorems_hold", "verdict", "model", "dataset"},
    "score resnet20 --dataset cifar10": {"scores"},
    "figure 0": {"figure", "notes"},
    "data list": {"datasets"},
    "data fetch digits": {"dataset", "report"},
    "data verify digits": {"dataset", "report"},
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(line: str, *more: str) -> Result:
    return CliRunner().invoke(main, [*line.split(), *more])


def objects(text: str) -> list:
    """The JSON values of the lines, without numbers that JSON does not have."""
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def commands(group: click.Group) -> list[click.Command]:
    found = []
    for command in group.commands.values():
        found += commands(command) if isinstance(command, click.Group) else [command]
    return found


@pytest.mark.parametrize("line", LINES)
def test_each_command_prints_one_object_with_its_report(line, finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / finished.name)  # `report` writes into it
    done = call(line.replace("RUN", str(copy)), "--json")
    assert done.exit_code == 0, done.stderr
    [found] = objects(done.stdout)
    assert LINES[line] <= set(found) and "networks" not in found


def test_every_command_is_one_of_these_lines_or_slow():
    called = {" ".join(line.split()[: 2 if line.startswith("data") else 1]) for line in LINES}
    names = {command.name for command in commands(main)}
    assert names - {name.split()[-1] for name in called} == {"selfcheck", "export"}
    for command in commands(main):
        options = {option.opts[0] for option in command.params}
        assert "--json" in options
        assert ("--quiet" in options) == (command.name not in REPORTERS), command.name


def test_the_object_of_a_run_is_its_result_file():
    [found] = objects(call("run --steps 3 --epochs 1 --device cpu", "--json").stdout)
    assert json.loads(Path(found.pop("result")).read_text()) == found


def test_export_and_selfcheck_have_objects_too(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "copy")
    [made] = objects(call("export copy --device cpu --json").stdout)
    assert made["path"].endswith("compact.pt2") and set(made["seconds"]) == {"1", "128"}

    def fails(device):
        raise ValueError("it\nfails")

    monkeypatch.setattr(selfcheck, "CHECKS", {"first": lambda device: "well", "second": fails})
    done = call("selfcheck --device cpu --json")
    [found] = objects(done.stdout)
    assert [check["verdict"] for check in found["checks"]] == ["PASS", "FAIL"]
    assert (done.exit_code, found["FAIL"]) == (1, 1)
    assert "PASS  first" in done.stderr  # progress


def test_a_sweep_with_a_failed_run_prints_its_object_and_then_fails():
    models = "proofs_tests.tools.factories:broken,mlp"
    line = f"{GRID} --models {models}".replace(",random", "")
    done = call(line, "--json")
    [found] = objects(done.stdout)
    assert [run["state"] for run in found["runs"]] == ["failed", "finished"]
    assert "it is broken" in found["runs"][0]["reason"]
    assert done.exit_code == 1 and "1 of 2 runs are not finished" in done.stderr


@pytest.mark.parametrize("option", ["--json", "--quiet"])
@pytest.mark.parametrize("line", ["run --compression 0", "inspect nowhere", "export nowhere"])
def test_an_error_is_a_sentence_on_stderr_and_stdout_is_empty(line, option):
    if option == "--quiet" and line.split()[0] in REPORTERS:
        pytest.skip("it has no --quiet")
    plainly, done = call(line), call(line, option)
    assert done.exit_code == plainly.exit_code != 0
    assert (done.stdout, done.stderr) == ("", plainly.stderr)


NOISY = """
from torch import nn
print("a module is imported")
def net(num_classes):
    print("a network is built")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
"""


@pytest.mark.parametrize(("option", "count"), [("--json", 1), ("--quiet", 0)])
def test_lines_of_a_users_model_do_not_reach_stdout(tmp_path, option, count):
    """In this process and in the worker of a sweep, which has the descriptor of stdout."""
    (tmp_path / "noisy.py").write_text(NOISY)
    command = [sys.executable, str(ROOT / "cli.py"), *GRID.split(), "--models", "noisy:net"]
    done = subprocess.run([*command, option], env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(objects(done.stdout)) == count
    assert ("a network is built" in done.stderr) == (option == "--json")
    if option == "--quiet":
        assert done.stderr == ""


def test_stdout_is_as_before_after_the_command():
    before = os.fstat(1)
    call("data list --json")
    assert os.fstat(1) == before


@pytest.mark.parametrize("line", ["run --epochs 0 --device cpu", GRID, "figure 0"])
def test_quiet_prints_nothing(line):
    done = call(line, "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    again = call(line, "--quiet")  # notes that a run is finished are progress, too
    assert (again.exit_code, again.output) == (0, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run --quiet --json", "--quiet cannot be combined with --json"),
        (f"{GRID} --quiet --status", "--quiet cannot be combined with --status"),
        (f"{GRID} --dry-run --quiet", "--quiet cannot be combined with --dry-run"),
        ("inspect nowhere --quiet", "No such option '--quiet'"),
    ],
)
def test_quiet_where_only_a_report_is_wanted_is_refused(line, words, tmp_path):
    done = call(line)
    assert (done.exit_code, done.stdout) == (2, "") and words in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_of_options_may_want_json(tmp_path):
    (tmp_path / "run.toml").write_text("epochs = 0\njson = true\n")
    [found] = objects(call("run --config run.toml").stdout)
    assert found["config"]["epochs"] == 0


def test_values_become_those_of_json():
    report = Report(
        "text", {"dtype": torch.float32, "path": Path("a"), 3: (1, math.nan, -math.inf)}
    )
    assert plain(report) == {
        "text": "text",
        "data": {"dtype": "torch.float32", "path": "a", "3": [1, None, None]},
        "error": None,
    }
