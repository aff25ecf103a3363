"""The networks of train/small.py take the images of the preset, and are pruned and trained."""

import json

import pytest
import torch

from experiments.runs.run import run
from experiments.sweeps.presets import OTHERS, preset
from proofs_tests.tools.runs import configured
from prune import prunable
from train.models import build, input_shape

N = {"train.small:vit": 132_736, "train.small:mobilenet_v3": 401_120}  # at 28 px and in grey


@pytest.mark.parametrize("name", OTHERS["model"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_it_takes_grey_and_coloured_images(name, shape):
    assert input_shape(name, shape) == shape
    model = build(name, shape, 10)
    assert model.eval()(torch.randn(2, *shape)).shape == (2, 10)
    if shape == (1, 28, 28):
        assert sum(w.numel() for w in prunable(model).values()) == N[name]


def test_the_first_convolution_of_mobilenet_keeps_all_pixels():
    model = build("train.small:mobilenet_v3", (1, 28, 28), 10)
    assert model.features[0](torch.randn(2, 1, 28, 28)).shape[2:] == (28, 28)


def test_the_places_of_patches_are_seen():
    """Tokens in another order give another output."""
    model, x = build("train.small:vit", (1, 28, 28), 10).eval(), torch.randn(1, 1, 28, 28)
    assert not torch.allclose(model(x), model(x.roll(4, 3)))


@pytest.mark.parametrize("name", OTHERS["model"])
def test_a_run_learns_in_two_epochs(name, tmp_path):
    """Of 512 digits, pruned by random scores in the layer counts of ERK."""
    more = {"model": name, "pruner": "random", "allocation": "erk", "compression": 3.0, "steps": 1}
    config = configured(tmp_path, **more, train_images=512, epochs=2, lr_drops=())
    result = json.loads(run(config).read_text())
    assert result["kept"] == -(-result["prunable"] // 3) and result["connected"]
    rows = (config.directory / "history.csv").read_text().splitlines()
    losses = [float(row.split(",")[2]) for row in rows[1:]]
    assert losses[1] < losses[0] < 4


def test_the_recipe_of_the_preset_is_theirs():
    configs = preset(["laptop-architectures"], {"device": "cpu"})
    assert {config.lr for config in configs} == {0.1}
