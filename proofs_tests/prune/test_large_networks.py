"""The networks of the paper at full size: counts, certificates and collapse."""

from fractions import Fraction

import pytest
import torch
import torchvision

from prune import SCORES, Probe, connected, prunable, prune
from prune.masks import dense_masks, kept, size
from prune.schedules import CertifiedStop
from train.models import build

pytestmark = pytest.mark.slow
IMAGE = (3, 32, 32)
N_VGG16 = 14_761_664  # of VGG-16 on CIFAR-100, in 14 layers


def vgg16(seed=0):
    torch.manual_seed(seed)
    return build("vgg16", IMAGE, 100)


def test_synflow_at_compression_100_spreads_over_vgg16():
    """100 steps keep 147,617 weights, about equally many in each large layer."""
    model = vgg16()
    masks = prune(model, "synflow", Probe(IMAGE), 100)
    assert (size(masks), kept(masks)) == (N_VGG16, 147_617)
    large = [mask for mask in masks.values() if mask.numel() >= 36_864]
    assert len(large) == 13
    assert all(9_500 <= mask.sum() <= 12_500 for mask in large)
    assert all(mask.any() for mask in masks.values())
    assert connected(model, masks, IMAGE)


@pytest.mark.parametrize("seed", range(5))
def test_certified_leaves_one_weight_in_each_layer_of_vgg16(seed):
    """Max compression N / L, in fewer than 150 steps, with a path open (Theorems 3, 4)."""
    model, taken = vgg16(seed), []
    masks = prune(
        model, "synflow", Probe(IMAGE), 1_054_405, schedule="certified", report=taken.append
    )
    assert [int(mask.sum()) for mask in masks.values()] == [1] * 14
    assert connected(model, masks, IMAGE)
    assert len(taken) < 150
    assert all(step.prune_cut_ratio < 1 for step in taken)


def test_certified_refuses_one_weight_less_than_layers():
    """13 weights cannot hold a path through 14 layers, so the error names 14."""
    with pytest.raises(ValueError, match=r"^certified stops at 14 weights, short of 13: removing"):
        prune(vgg16(), "synflow", Probe(IMAGE), 1_135_513, schedule="certified")


@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_networks_of_torchvision_are_counted_exactly(name):
    """Residual and dense connections, float32 weights, R of 1e71: all scores are finite."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    taken = []
    masks = prune(model, "synflow", Probe((3, 64, 64)), 10, steps=10, report=taken.append)
    assert all(w.dtype == torch.float32 for w in prunable(model).values())
    assert kept(masks) == -(-size(masks) // 10)
    assert all(S.isfinite().all() for step in taken for S in step.scores.values())
    assert connected(model, masks, (3, 64, 64))


def test_too_few_steps_collapse_resnet50():
    """Its prune sizes exceed the cut size (Theorem 4), and `connected` is False."""
    torch.manual_seed(0)
    model, taken = torchvision.models.resnet50(), []
    masks = prune(model, "synflow", Probe((3, 64, 64)), 10, steps=3, report=taken.append)
    assert all(step.prune_cut_ratio > 1 for step in taken[:2])
    assert not connected(model, masks, (3, 64, 64))
    assert kept(masks) == -(-size(masks) // 10)


def test_shortcuts_of_resnet18_may_empty_while_paths_are_open():
    """A shortcut is no cut: SynFlow empties the 1x1 convolutions first, and nothing collapses."""
    torch.manual_seed(0)
    model = build("resnet18", IMAGE, 10)
    masks = prune(model, "synflow", Probe(IMAGE), 1000, steps=20)
    empty = {name for name, mask in masks.items() if not mask.any()}
    assert empty == {f"layer{i}.0.downsample.0.weight" for i in (2, 3, 4)}
    assert connected(model, masks, IMAGE)


def test_certified_keeps_a_path_of_resnet18_open():
    """It may stop on a path longer than the shortest, 5; the error names the count reached."""
    torch.manual_seed(0)
    model = build("resnet18", IMAGE, 10, width=0.25)
    N = size(dense_masks(model))
    with pytest.raises(CertifiedStop, match=r"^certified stops at") as refusal:
        prune(model, "synflow", Probe(IMAGE), N, schedule="certified")
    reached = refusal.value.reached
    assert 5 <= reached
    masks = prune(model, "synflow", Probe(IMAGE), Fraction(N, reached), schedule="certified")
    assert kept(masks) == reached
    assert connected(model, masks, IMAGE)


@pytest.mark.parametrize("score", sorted(SCORES))
def test_every_score_of_vgg11_is_finite(score):
    """At full size; scores that read data get a batch of images."""
    torch.manual_seed(0)
    model = build("vgg11", IMAGE, 10)
    probe = Probe(IMAGE, ((torch.randn(4, *IMAGE), torch.arange(4)),))
    masks = prune(model, score, probe, 100, steps=1)
    assert kept(masks) == -(-size(masks) // 100)
