"""A score of the user's own, in runs, sweeps and figures."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli import main
from experiments.config import restore
from experiments.figures import collect, style
from experiments.pruners import reads_data, usual_steps
from experiments.resolve import resolve
from experiments.runs.files import MASKS, read_result
from experiments.series import series_of
from proofs_tests.tools.own_scores import mean_images, patient, squares
from prune.pruning import default_steps

pytestmark = pytest.mark.usefixtures("one_thread")

OWN = "proofs_tests.tools.own_scores"
TEXT = """def theta_squared(model, masks, probe):
    theta = dict(model.named_parameters())
    return {name: theta[name].detach() ** 2 * masks[name] for name in masks}
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def pruned(folder: Path, *options: object) -> Path:
    """Make a run without training; return its folder."""
    done = call("run", "--results", folder, "--device", "cpu", "--epochs", 0, *options)
    assert done.exit_code == 0, done.output
    return Path(done.stdout.splitlines()[-1].removeprefix("result: ")).parent


def masks(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / MASKS) as stored:
        return {name: stored[name] for name in stored if name.endswith("weight")}


def test_its_masks_are_those_of_the_same_score_by_name(tmp_path):
    own = pruned(tmp_path, "--pruner", f"{OWN}:squares")
    named = pruned(tmp_path, "--pruner", "magnitude")
    assert own != named and read_result(own / "result.json")["config"]["steps"] == 1
    assert masks(own)
    for name, mask in masks(named).items():
        assert np.array_equal(masks(own)[name], mask)


def test_an_iterative_score_gets_100_steps_and_another_one():
    assert usual_steps(f"{OWN}:patient", "exponential") == default_steps(patient) == 100
    assert usual_steps(f"{OWN}:squares", "exponential") == default_steps(squares) == 1
    assert resolve({"pruner": f"{OWN}:patient"}).steps == 100


def test_a_score_of_data_gets_training_images(tmp_path):
    assert reads_data(f"{OWN}:mean_images") and not reads_data(f"{OWN}:squares")
    assert mean_images.reads_data
    assert masks(pruned(tmp_path, "--pruner", f"{OWN}:mean_images"))


def test_its_curve_shows_the_steps_and_has_a_look_of_its_own():
    looks = []
    for place, (name, steps) in enumerate({"squares": 1, "patient": 100}.items()):
        config = resolve({"pruner": f"{OWN}:{name}"})
        series = series_of(restore(config.decisive))
        plural = "s" if steps > 1 else ""
        assert series.label == f"{OWN}:{name}, {steps} step{plural}"
        looks.append(style.look(series, place))
    assert looks[0].color != looks[1].color and looks[0].marker != looks[1].marker


def test_results_are_read_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_score.py").write_text(TEXT)
    pruned(tmp_path, "--pruner", "my_score:theta_squared")
    Path("my_score.py").write_text("raise SystemExit('this was run')")
    del sys.modules["my_score"]
    [found] = collect.runs(tmp_path)
    assert found["series"].pruner == "my_score:theta_squared" and "my_score" not in sys.modules


def test_one_file_and_two_commands_put_it_into_figure_6(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_scores.py").write_text(TEXT)
    short = "--epochs", 1, "--compressions", "1,10", "--seeds", 0
    pruners = "my_scores:theta_squared,my_scores:theta_squared@3,synflow"
    done = call("sweep", "--pruners", pruners, *short)
    assert done.exit_code == 0, done.output
    drawn = call("figure", 6)
    assert drawn.exit_code == 0, drawn.output
    with open(
        Path(drawn.stdout.splitlines()[-1].removeprefix("figure: ")).with_suffix(".csv")
    ) as f:
        curves = {row["series"] for row in csv.DictReader(f)} - {"dense"}
    own = {f"my_scores:theta_squared, {steps}" for steps in ("1 step", "3 steps")}
    assert curves == {"synflow", *own}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_scores.theta_squared", "must be one of random"),
        ("no_such_module:score", "No module named 'no_such_module'"),
        (f"{OWN}:no_such_score", "has no attribute 'no_such_score'"),
        (f"{OWN}:torch", "is no function that can be imported"),
    ],
)
@pytest.mark.parametrize("command", ["run", "sweep"])
def test_names_without_a_score_are_refused(command, name, words):
    option = "--pruner" if command == "run" else "--pruners"
    done = call(command, option, name)
    assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1


def test_certified_is_for_scores_with_a_conserved_flow():
    done = call("run", "--pruner", f"{OWN}:squares", "--schedule", "certified")
    assert done.exit_code == 2 and "needs a conserved positive score" in done.stderr
