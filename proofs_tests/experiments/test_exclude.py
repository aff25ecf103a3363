"""`--exclude`: weights that stay dense and do not count, in runs, cycles, sweeps and figures."""

import csv
import json
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli import main
from experiments.figures import accuracy, collect
from experiments.resolve import resolve
from experiments.runs.build import initial_model, probe
from experiments.runs.export import export
from experiments.runs.files import read_result
from experiments.runs.imp import imp
from experiments.runs.inspection import checked, inspect, network
from experiments.runs.run import run
from experiments.runs.sharing import TRAINED, trainings
from experiments.sweeps.grid import grid
from proofs_tests.tools.runs import CPU, QUICK, N, configured
from proofs_tests.tools.sweeps import axes, result
from prune import prune
from train import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
LAST = 1000  # weights of 5.weight
LEFT = N - LAST


@pytest.fixture(scope="module")
def partly(tmp_path_factory) -> Path:
    """The directory of a run that leaves the last layer dense; tests only read it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("partly")
    return run(configured(folder, exclude=("5.*",), record_weights=True)).parent


def cells(path: Path, column: str) -> list[str]:
    with open(path, newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def test_an_excluded_weight_has_no_mask_and_does_not_count(partly):
    found = read_result(partly / "result.json")
    assert (found["prunable"], found["kept"], found["compression"]) == (LEFT, LEFT // 10, 10)
    names = ["1.weight", "3.weight"]
    assert list(found["density"]) == list(found["effective_density"]) == names
    assert cells(partly / "layers.csv", "name") == names
    assert cells(partly / "weights.csv", "name") == names * 3  # before, and after two epochs
    with np.load(partly / "masks.npz") as masks:
        assert [name for name in masks.files if not name.startswith("__")] == names


def test_it_stays_dense_through_the_training(partly):
    weights = checkpoint.load(partly / "checkpoint.pt", CPU)["model"]
    with np.load(partly / "masks.npz") as masks:
        assert int((weights["5.weight"] != 0).sum()) == LAST
        for name in ("1.weight", "3.weight"):
            assert np.array_equal(weights[name].numpy() != 0, masks[name])


def test_the_masks_are_those_of_the_library(partly):
    config = configured(partly.parent, exclude=("5.weight",))
    masks = prune(initial_model(config), "synflow", probe(config, None), 10, 3, exclude=("5",))
    with np.load(partly / "masks.npz") as saved:
        assert all(np.array_equal(saved[name], mask) for name, mask in masks.items())


def test_it_is_inspected_and_exported(partly):
    found = inspect(partly)
    assert [row["name"] for row in found.layers] == ["1.weight", "3.weight"]
    shown = CliRunner().invoke(main, ["inspect", str(partly)]).stdout.splitlines()
    assert "dense and not counted: 5.*" in shown
    small = torch.export.load(export(partly, "cpu").path).module()
    x = torch.randn(5, 1, 8, 8)
    assert torch.allclose(small(x), network(partly, checked(partly))(x), atol=1e-5)


def test_the_name_of_a_run_depends_on_the_set_of_patterns(tmp_path):
    one = resolve({"exclude": ("5.weight", "1.weight"), "results": str(tmp_path)})
    same = resolve({"exclude": ["1.weight", "5.weight", "1.weight"], "results": str(tmp_path)})
    other = resolve({"exclude": ("5.weight",), "results": str(tmp_path)})
    usual = resolve({"results": str(tmp_path)})
    assert one == same and len({c.directory for c in (one, same, other, usual)}) == 3


@pytest.mark.parametrize("exclude, kept", [("conv1.weight,fc", 11_678_912 - 9408 - 512_000)])
def test_a_network_of_torchvision_is_checked_without_building_it(tmp_path, exclude, kept):
    names = {"model": "torchvision:resnet18", "dataset": "imagenet", "epochs": 0}
    given = names | {"results": str(tmp_path), "exclude": tuple(exclude.split(","))}
    resolve(given | {"compression": kept})
    with pytest.raises(ValueError, match=f"at most {kept:,} is possible"):
        resolve(given | {"compression": kept + 1})


def test_a_pattern_that_fits_nothing_in_a_network_of_ones_own(tmp_path, factory):
    """Such a network is built by the run only, so the exit code is 1."""
    given = ["--model", factory, "--epochs", "0", "--exclude", "conv9", "--results", tmp_path]
    outcome = CliRunner().invoke(main, ["run", *map(str, given)])
    assert outcome.exit_code == 1 and outcome.stdout == ""
    assert "'conv9' fits no weight" in outcome.stderr.splitlines()[-1]


def test_cycles_leave_it_dense_and_share_the_first_training(tmp_path):
    """The trainings are those that `trainings` foresees: only the dense one is shared."""
    given = {"steps": None, "cycles": 2, "epochs": 1}
    whole, part = (configured(tmp_path, **given, exclude=e) for e in ((), ("5",)))
    directories = [imp(config).parent for config in (whole, part)]
    begun = [(d / f"cycle-{k}" / TRAINED).read_text() for d in directories for k in (1, 2)]
    assert begun[0] == begun[2] and begun[1] != begun[3]
    assert len({*trainings(whole), *trainings(part)}) == 5
    found = json.loads((directories[1] / "result.json").read_text())
    assert [row["kept"] for row in found["cycles"]] == [ceil(LEFT * 10**-0.5), LEFT // 10]
    weights = checkpoint.load(directories[1] / "checkpoint.pt", CPU)["model"]
    assert int((weights["5.weight"] != 0).sum()) == LAST
    assert int((weights["3.weight"] != 0).sum()) < 30_000


def test_a_sweep_excludes_in_all_of_its_runs_but_the_dense_ones():
    configs = grid(axes(compression=[1.0, 10.0]), {"exclude": ("5.*",)})
    assert [config.exclude for config in configs] == [(), ("5.*",)]
    with pytest.raises(ValueError, match="exclude does nothing in this sweep"):
        grid(axes(compression=[1.0]), {"exclude": ("5.*",)})


@pytest.mark.usefixtures("one_process")
def test_the_command_of_a_sweep_takes_it(tmp_path):
    given = ["--pruners", "magnitude", "--compressions", "10", "--seeds", "0", "--exclude", "5,1"]
    line = ["sweep", *given, "--epochs", "0", "--results", str(tmp_path)]
    assert CliRunner().invoke(main, line).exit_code == 0
    (path,) = tmp_path.glob("*/result.json")
    found = read_result(path)
    assert found["prunable"] == 30_000 and found["config"]["exclude"] == ["1", "5"]


def test_figures_show_it_as_a_curve_of_its_own(tmp_path):
    """In the panel of the same network; the dense run is the first point of both curves."""
    result(tmp_path, "magnitude", 1, 90.0)
    for exclude in ((), ("5.*", "1.weight")):
        result(tmp_path, "synflow", 10, 80.0, options={"exclude": exclude})
    (panel,) = collect.panels(collect.runs(tmp_path), {})
    curves = collect.curves(panel.rows)
    labels = {series.label: [row["compression"] for row in rows] for series, rows in curves.items()}
    assert labels == {"synflow": [1, 10], "synflow without 1.weight,5.*": [1, 10]}
    names = {row["series"] for row in accuracy.draw_all(tmp_path, {}).rows}
    assert names == {"dense", *labels}


@pytest.mark.parametrize("counts", [(900, 1000), (1000, 900)])
def test_the_largest_possible_compression_is_that_of_the_whole_network(tmp_path, counts):
    """N / L of Figure 1, with two tensors in each result; runs are found by name."""
    for seed, count in enumerate(counts):
        result(tmp_path, "synflow", 10, 80.0, seed=seed, prunable=count)
    figure = accuracy.draw_one(tmp_path, {}).figure
    (limit,) = [text.get_position()[0] for text in figure.axes[0].texts if "max" in text.get_text()]
    assert limit == 500


def test_the_command_line_strips_spaces(tmp_path):
    line = ["run", "--exclude", " 5.weight, 1.weight ", "--epochs", "0", "--results", str(tmp_path)]
    assert CliRunner().invoke(main, [*line, "--steps", str(QUICK["steps"])]).exit_code == 0
    (path,) = tmp_path.glob("*/result.json")
    assert read_result(path)["config"]["exclude"] == ["1.weight", "5.weight"]
