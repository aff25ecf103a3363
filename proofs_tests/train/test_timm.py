"""Models of timm, which is not installed for most tests: a stand-in takes its place."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from torch import nn

from cli import main
from train.foreign import from_timm
from train.models import build, check_name


def made(shape: tuple, **given) -> nn.Module:
    """A network that remembers its arguments."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * 64, given["num_classes"]))
    network.given = given
    return network


def create_sized(name: str, img_size: tuple[int, int], **given) -> nn.Module:
    return made((given["in_chans"],), img_size=img_size, **given)


def create_any(name: str, in_chans: int, num_classes: int, pretrained: bool) -> nn.Module:
    return made((in_chans,), num_classes=num_classes)


@pytest.mark.parametrize("create", [create_sized, create_any])
def test_a_model_gets_the_size_of_the_images_where_it_takes_one(monkeypatch, create):
    fake = SimpleNamespace(create_model=create, is_model=lambda name: name == "net")
    monkeypatch.setitem(sys.modules, "timm", fake)
    network = build("timm:net", (1, 8, 8), 5)
    expected = {"img_size": (8, 8)} if create is create_sized else {}
    assert network.given["num_classes"] == 5
    assert {k: v for k, v in network.given.items() if k == "img_size"} == expected
    with pytest.raises(ValueError, match="timm has no model 'other'"):
        check_name("timm:other")


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_the_extra_is_named():
    done = CliRunner().invoke(main, ["run", "--model", "timm:resnet18"])
    assert done.exit_code == 2 and "pip install 'synflow[timm]'" in done.stderr


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_models_of_timm_run(name):
    pytest.importorskip("timm")
    network = from_timm(name, (3, 32, 32), 7)
    assert network.get_classifier().out_features == 7
