"""`run --compact`: the same training as without, on fewer channels, and exactly resumed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.config import RunConfig
from experiments.runs.imp import imp
from experiments.runs.run import run
from proofs_tests.tools.runs import CPU, Killed, Killer, configured, files
from prune import load_masks
from train import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

CHANGED = {"trained", "seconds", "sha256", "untrained", "best", "final"}


def result(directory: Path) -> dict:
    return json.loads((directory / "result.json").read_text())


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(directory / "checkpoint.pt", CPU)["model"]


def momenta(directory: Path) -> list[torch.Tensor]:
    state = checkpoint.load(directory / "checkpoint.pt", CPU)["optimizer"]["state"]
    return [state[number]["momentum_buffer"] for number in sorted(state)]


def losses(directory: Path) -> list[float]:
    rows = checkpoint.load(directory / "checkpoint.pt", CPU)["history"]
    return [row["train_loss"] for row in rows]


def compare(found: Path, expected: Path) -> None:
    """Weights and momenta are equal to rounding, also those that nothing reads."""
    theirs = weights(expected)
    for name, tensor in weights(found).items():
        if "running" not in name:  # those of channels that nothing reads are not measured
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4)
    for a, b in zip(momenta(found), momenta(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    assert losses(found) == pytest.approx(losses(expected), rel=1e-4)


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> Path:
    """The directory of a finished masked run; tests only read it."""
    return run(configured(tmp_path_factory.mktemp("masked"), compact=False)).parent


def test_a_run_is_the_masked_run_to_rounding(finished, masked):
    """Masks, tables and facts are the same; the checkpoint and weights are of all channels."""
    ours, theirs = result(finished), result(masked)
    assert {k: ours[k] for k in theirs if k not in CHANGED} == {
        k: v for k, v in theirs.items() if k not in CHANGED
    }
    for name in ("masks.npz", "layers.csv", "steps.csv"):
        assert files(finished)[name] == files(masked)[name]
    assert set(files(finished)) == set(files(masked))
    compare(finished, masked)


def test_the_result_has_the_size_of_what_was_trained(finished, masked):
    """FLOPs of the MLP: 2 for each weight in a forward pass, 4 in a backward pass."""
    ours, theirs = result(finished)["trained"], result(masked)["trained"]
    first, second, last = 64 * 300, 300 * 100, 100 * 10
    assert theirs["parameters"] == theirs["all_parameters"] == first + second + last + 410
    assert theirs["step_flops"] == 64 * (4 * first + 6 * (second + last))
    assert ours["parameters"] < theirs["parameters"]
    assert ours["step_flops"] < theirs["step_flops"] == ours["all_step_flops"]


def test_a_dense_run_trains_all(tmp_path):
    trained = result(run(configured(tmp_path, compression=1.0, epochs=1)).parent)["trained"]
    assert trained["parameters"] == trained["all_parameters"]


@pytest.mark.parametrize("first", [False, True])
def test_a_run_goes_on_with_or_without_the_channels(tmp_path, masked, first):
    """A masked run that was stopped in its second epoch goes on compacted, and the reverse."""
    with pytest.raises(Killed):
        run(configured(tmp_path, compact=first), Killer(35))
    compare(run(configured(tmp_path, compact=not first)).parent, masked)


NETWORKS = """
from torch import nn
def convolutions(input_shape, num_classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2),
        nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
        nn.Linear(128, num_classes),
    )

class Choice(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)) if x.sum() > -1e9 else x

def untraceable(input_shape, num_classes):
    return Choice(input_shape[1] ** 2, num_classes)
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch) -> None:
    """A module with two networks: one with dropout, and one that cannot be traced."""
    (tmp_path / "compacted_nets.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)


def dropping(results: Path, **given) -> RunConfig:
    return configured(results, model="compacted_nets:convolutions", compression=10.0, **given)


@pytest.mark.parametrize("stops", [(6,), (30,), (36, 5)])
def test_a_killed_run_with_dropout_goes_on_to_the_same_end(theirs, tmp_path, stops):
    """With batch norm; the run is stopped in its first epoch, in its second one, and twice."""
    expected = run(dropping(tmp_path / "whole")).parent
    trained = result(expected)["trained"]
    assert trained["parameters"] < trained["all_parameters"]
    config = dropping(tmp_path / "stopped")
    for at in stops:
        with pytest.raises(Killed):
            run(config, Killer(at))
    assert files(run(config).parent) == files(expected)


def test_dropout_is_that_of_the_masked_run(theirs, tmp_path):
    """At a low learning rate: a higher one lets rounding grow."""
    ways = [dropping(tmp_path / str(way), compact=way, lr=0.01) for way in (True, False)]
    compare(*(run(config).parent for config in ways))


def test_a_run_with_maps_goes_on_without_the_channels_and_the_reverse(theirs, tmp_path):
    """Weights then have another memory format, in which torch's fused step would mix them up."""
    ways = {way: dropping(tmp_path / str(way), compact=way, lr=0.01) for way in (True, False)}
    for way, config in ways.items():
        with pytest.raises(Killed):
            run(config, Killer(35))
        run(replace(config, compact=not way))
    expected = run(dropping(tmp_path / "whole", compact=False, lr=0.01)).parent
    for config in ways.values():
        compare(config.directory, expected)


def test_a_network_that_cannot_be_traced_is_trained_masked_or_refused(theirs, tmp_path):
    given = {"model": "compacted_nets:untraceable", "pruner": "magnitude", "steps": 1, "epochs": 1}
    trained = result(run(configured(tmp_path, **given)).parent)["trained"]
    assert trained["parameters"] == trained["all_parameters"]
    with pytest.raises(ValueError, match="without --compact it is trained as it is"):
        run(configured(tmp_path / "wanted", compact=True, **given))


def test_compact_means_nothing_without_training(tmp_path):
    with pytest.raises(ValueError, match="--compact does nothing with --epochs 0"):
        configured(tmp_path, epochs=0, compact=True)


@pytest.mark.parametrize("rewind", [True, False])
def test_cycles_keep_the_weights_that_they_keep_without(tmp_path, rewind):
    """Also weights that nothing reads compete by their magnitudes, which decay."""
    given = {"steps": None, "cycles": 2, "compression": 300.0, "weight_decay": 0.05, "lr": 0.02}
    found = []
    for compact in (False, True):
        results = tmp_path / str(compact)
        given |= {"rewind": rewind, "compact": compact}
        found.append(imp(configured(results, **given)).parent)
    masks = [load_masks(directory / "masks.npz") for directory in found]
    differing = sum(int((mask ^ masks[1][name]).sum()) for name, mask in masks[0].items())
    sizes = [[row["trained"]["parameters"] for row in result(d)["cycles"]] for d in found]
    assert differing <= 2 and sizes[1][1] < sizes[0][1]  # two near a tie, by rounding


@pytest.mark.slow
def test_compiled(tmp_path, masked):
    compare(run(configured(tmp_path, compile=True, compact=True)).parent, masked)
