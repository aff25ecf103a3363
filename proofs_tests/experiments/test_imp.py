"""Iterative magnitude pruning (Sec. 5): counts, nesting, rewinding, resumption, accuracy."""

import csv
import json
from dataclasses import replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import fmean

import pytest
import torch
from click.testing import CliRunner

import cli
from experiments.runs import imp as module
from experiments.runs import run as runs
from experiments.runs.build import initial_model
from experiments.runs.imp import imp
from experiments.runs.inspection import inspect
from experiments.runs.run import run
from proofs_tests.tools.runs import Killed, Killer, N, configured, files
from prune import load_masks, prunable

pytestmark = pytest.mark.usefixtures("one_thread")


def cycled(results: Path, **given):
    return configured(results, **{"steps": None, "cycles": 3, "compression": 30, **given})


def everything(directory: Path) -> dict[str, object]:
    """All files of a run and of its cycles, without timings."""
    found = {"": files(directory)}
    for cycle in directory.glob("cycle-*"):
        found[cycle.name] = {**files(cycle)}
        del found[cycle.name]["cycle.json"]  # its content, timings included, is in the result
    result = json.loads((directory / "result.json").read_text())
    del found[""]["result.json"]
    found["cycles"] = [{k: v for k, v in row.items() if k != "seconds"} for row in result["cycles"]]
    return found | {"final": result["final"], "best": result["best"]}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """The directory of a finished run of three cycles, to be read only."""
    torch.set_num_threads(1)
    return imp(cycled(tmp_path_factory.mktemp("imp"))).parent


def test_cycle_k_of_n_leaves_density_rho_to_the_minus_k_over_n(done):
    result = json.loads((done / "result.json").read_text())
    kept = [ceil(N * 30 ** (-k / 3)) for k in (1, 2, 3)]
    assert [row["kept"] for row in result["cycles"]] == kept == [16156, 5200, 1674]
    assert result["kept"] == kept[-1] and result["steps"] == 3
    assert result["notes"] == [] and 0 < result["effective"] <= kept[-1]
    with open(done / "steps.csv", newline="") as file:
        assert [int(row["kept"]) for row in csv.DictReader(file)] == kept


def test_masks_of_the_cycles_nest(done):
    masks = [load_masks(done / f"cycle-{k}" / "masks.npz") for k in (1, 2, 3)]
    for before, after in pairwise(masks):
        assert all((before[name] | ~after[name]).all() for name in before)
    final = load_masks(done / "masks.npz")
    assert all(torch.equal(final[name], masks[-1][name]) for name in final)


@pytest.mark.parametrize("cycle", [1, 2, 3])
def test_a_cycle_keeps_the_largest_trained_weights_among_the_survivors(done, cycle):
    trained = torch.load(done / f"cycle-{cycle}" / "checkpoint.pt")["model"]
    masks = load_masks(done / f"cycle-{cycle}" / "masks.npz")
    before = load_masks(done / f"cycle-{cycle - 1}" / "masks.npz") if cycle > 1 else None
    kept = torch.cat([trained[name][mask].abs() for name, mask in masks.items()])
    lost = [trained[n][~m if before is None else before[n] & ~m] for n, m in masks.items()]
    assert kept.min() >= torch.cat(lost).abs().max()


@pytest.fixture
def beginnings(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """The weights with which each training begins."""
    seen, fit = [], module.fit

    def spy(config, directory, model, *rest):
        seen.append({name: w.detach().clone() for name, w in model.state_dict().items()})
        return fit(config, directory, model, *rest)

    monkeypatch.setattr(module, "fit", spy)
    monkeypatch.setattr(runs, "fit", spy)
    return seen


def test_survivors_begin_every_training_with_their_initial_weights(tmp_path, beginnings):
    """The published data of Fig. 5 were made without rewinding (DEPARTURES.md, row 6)."""
    config = cycled(tmp_path, model="mlp")
    directory = imp(config).parent
    initial = initial_model(config).state_dict()
    assert len(beginnings) == 4
    for cycle, found in enumerate(beginnings):
        masks = load_masks(directory / f"cycle-{cycle}" / "masks.npz") if cycle else {}
        for name, weight in initial.items():
            assert torch.equal(found[name], weight * masks.get(name, torch.ones(())))


def test_without_rewinding_survivors_go_on_as_they_were_trained(tmp_path, beginnings):
    directory = imp(cycled(tmp_path, rewind=False)).parent
    for cycle, found in enumerate(beginnings[1:], 1):
        masks = load_masks(directory / f"cycle-{cycle}" / "masks.npz")
        trained = torch.load(directory / f"cycle-{cycle}" / "checkpoint.pt")["model"]
        for name, weight in trained.items():
            assert torch.equal(found[name], weight * masks.get(name, torch.ones(())))


def test_with_and_without_rewinding_are_two_runs(tmp_path):
    rewound, kept = (cycled(tmp_path, rewind=rewind) for rewind in (None, False))
    assert rewound.directory != kept.directory
    assert rewound.directory != replace(rewound, cycles=2).directory


@pytest.mark.parametrize("at", [0, 30, 60, 120, 170])
def test_interrupted_anywhere_it_goes_on_and_ends_as_uninterrupted(tmp_path, done, at):
    """A killed `imp` repeats at most an epoch; its files equal those of an uninterrupted one."""
    config = cycled(tmp_path)
    with pytest.raises(Killed):
        imp(config, Killer(at))
    assert everything(imp(config).parent) == everything(done)


def test_finished_cycles_are_not_trained_again(tmp_path, monkeypatch):
    config = cycled(tmp_path)
    with pytest.raises(Killed):
        imp(config, Killer(130))  # in the third training
    assert len(list(config.directory.glob("cycle-*/cycle.json"))) == 2
    trained, fit = [], module.fit

    def spy(config, directory, *rest):
        trained.append(directory.name)
        return fit(config, directory, *rest)

    monkeypatch.setattr(module, "fit", spy)
    imp(config)
    assert trained == ["cycle-3"]


def test_a_finished_imp_is_not_repeated(done, monkeypatch):
    for place in (module, runs):
        monkeypatch.setattr(place, "fit", lambda *_: pytest.fail("trained again"))
    assert imp(cycled(done.parent)) == done / "result.json"


def test_inspect_checks_it_as_any_run(done):
    result, layers, *_ = inspect(done)
    assert sum(int(row["kept"]) for row in layers) == result["kept"] == 1674
    initial = dict(prunable(initial_model(cycled(done.parent))))
    masks = load_masks(done / "masks.npz")
    for row in layers:
        squares = initial[row["name"]].detach()[masks[row["name"]]].double().square()
        assert float(row["mean_square_weight"]) == pytest.approx(
            squares.mean().item()  # rounding: sums in another order
        )


def invoked(*arguments: object):
    return CliRunner().invoke(cli.main, list(map(str, arguments)))


def test_the_command_ends_with_the_result(tmp_path):
    outcome = invoked("imp", "--epochs", 1, "--cycles", 1, "--results", tmp_path)
    path = Path(outcome.stdout.splitlines()[-1].removeprefix("result: "))
    result = json.loads(path.read_text())
    assert outcome.exit_code == 0 and len(result["cycles"]) == 1
    assert result["config"]["cycles"] == 1 and result["config"]["rewind"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        ("--cycles", 0),
        ("--epochs", 0),
        ("--pruner", "snip"),
        ("--steps", 3),
        ("--schedule", "linear"),
        ("--score-dtype", "float32"),
    ],
)
def test_what_means_nothing_for_imp_is_a_usage_error(tmp_path, wrong):
    outcome = invoked("imp", *wrong, "--results", tmp_path)
    assert outcome.exit_code == 2 and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_three_cycles_end_at_least_as_accurate_as_one_shot_magnitude_at_30(tmp_path):
    """On digits with the data set's recipe; means over 5 seeds."""
    final = {"imp": [], "one-shot": []}
    for seed in range(5):
        given = {"compression": 30, "epochs": None, "seed": seed}
        one_shot = configured(tmp_path, **given, pruner="magnitude", steps=None)
        for name, path in (("imp", imp(cycled(tmp_path, **given))), ("one-shot", run(one_shot))):
            final[name].append(json.loads(path.read_text())["final"]["top1"])
    assert fmean(final["imp"]) >= fmean(final["one-shot"]), final
