"""`diagnose` separates networks that the theorems cover from others, and gives the reasons.

Residuals are measured in float64, so they are compared with a tolerance for its rounding.
"""

from decimal import Decimal

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from proofs_tests.tools.diagnoses import TINY, chain, found, layer
from proofs_tests.tools.torch_strategies import Apply
from prune import Probe
from prune.diagnosis import verdict
from prune.masks import dense_masks
from prune.scores import synaptic_flow
from train.models import build

# Networks that the theorems cover


HOMOGENEOUS = {
    "relu": nn.ReLU(inplace=True),
    "leaky_relu": nn.LeakyReLU(0.1),
    "prelu": nn.PReLU(4),
    "maxout": Apply(lambda x: torch.maximum(x, 2 * x)),
    "max_pool": nn.MaxPool2d(3, stride=1, padding=1),
    "avg_pool": nn.AvgPool2d(2, stride=1),
    "batch_norm": nn.BatchNorm2d(4),
    "dropout": nn.Dropout(),
    "padding": nn.ReflectionPad2d(1),
    "upsample": nn.Upsample(scale_factor=2),
    "in_place": Apply(lambda x: x.mul_(2).relu_()),
}


@pytest.mark.parametrize("unit", HOMOGENEOUS)
def test_homogeneous_units_hold(unit):
    """Neurons and cuts conserve flow (Theorem 1, Theorem 2), and each layer is a cut."""
    diagnosis = found(chain(HOMOGENEOUS[unit]))
    assert not diagnosis.inhomogeneous and not diagnosis.shifts and not diagnosis.zeros
    assert not diagnosis.otherwise and not diagnosis.simplified
    assert diagnosis.neuron_wise.compared == 4 + 5
    assert diagnosis.neuron_wise.value < TINY
    assert diagnosis.cut_wise.compared == 1 + 3
    assert diagnosis.cut_wise.value < TINY
    assert all(one.is_cut and abs(one.share - 1) < TINY for one in diagnosis.layers)
    holds, sentence = verdict(diagnosis)
    assert holds
    assert sentence.startswith("The guarantees (Theorems 1 to 4) hold: every operation is homog")
    assert "each of the 3 layers is a cut" in sentence


@pytest.mark.parametrize("name", ["mlp", "vgg11", "resnet20"])
def test_scores_are_those_that_prune_the_network(name):
    """R (Eq. 5) and sums of scores (Eq. 6) are as in `synaptic_flow`; the model is not changed."""
    shape = (1, 8, 8) if name == "mlp" else (3, 32, 32)
    model = build(name, shape, 10, width=0.25)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    diagnosis = found(model, shape)
    flow = synaptic_flow(model, dense_masks(model), Probe(shape))
    assert diagnosis.R == pytest.approx(flow.R, rel=TINY)
    for one in diagnosis.layers:
        total = flow.scores[one.name].sum().item()
        assert one.share == pytest.approx(total / flow.R, rel=TINY)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in model.modules()]
    assert not any(hooks)
    assert all(p.grad is None for p in model.parameters())


def test_in_a_residual_net_a_layer_is_no_cut_but_branch_and_shortcut_are():
    """Branch and shortcut together carry R (Theorem 2), so the verdict is positive."""
    model = build("resnet20", (3, 32, 32), 10, width=0.25)
    diagnosis = found(model, (3, 32, 32))
    assert [one.name for one in diagnosis.layers if one.is_cut] == ["conv1.weight", "fc.weight"]
    assert diagnosis.cut_wise.compared == 1 + 2 + 2  # two blocks have a shortcut with weights
    assert max(diagnosis.cut_wise.value, diagnosis.neuron_wise.value) < TINY
    branch, shortcut = (
        layer(diagnosis, f"layer2.0.{name}.weight") for name in ("conv1", "downsample.0")
    )
    assert branch.share + shortcut.share == pytest.approx(1, rel=TINY)
    holds, sentence = verdict(diagnosis)
    assert holds
    assert "only 2 of 22 layers are a cut by themselves" in sentence


def test_a_first_layer_may_overwrite_its_input():
    """Some models pre-process their input in place."""
    model = nn.Sequential(Apply(lambda x: x.mul_(2)), nn.ReLU(inplace=True), nn.Linear(4, 3, False))
    assert found(model, (4,)).cut_wise.value < TINY


def test_a_layer_used_twice_is_no_cut():
    """Each path crosses it twice, so its scores sum to 2 R (Theorem 2)."""
    shared = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    diagnosis = found(chain(shared, nn.ReLU(), shared))
    assert layer(diagnosis, "1.weight").share == pytest.approx(2, rel=TINY)
    assert not layer(diagnosis, "1.weight").is_cut
    assert diagnosis.cut_wise.value < TINY
    assert verdict(diagnosis)[0]


# Networks that the theorems do not cover


def test_a_function_without_a_reading_is_named():
    """The theorems do not hold even for the network as scored."""
    diagnosis = found(chain(Apply(torch.asinh)))
    assert [(one.name, one.module) for one in diagnosis.inhomogeneous] == [("asinh", "1")]
    holds, sentence = verdict(diagnosis)
    assert not holds
    assert "asinh (once, in 1) is not homogeneous, as Theorem 1 needs" in sentence


def test_both_are_said_where_some_units_have_no_reading():
    """The units that are read otherwise are listed, too."""
    holds, sentence = verdict(found(chain(Apply(torch.asinh), nn.GELU())))
    assert not holds
    assert "for itself, it also has gelu (once, in 2) read as ReLU" in sentence


def test_inhomogeneous_units_do_not_conserve_flow():
    """The inverse of sinh loses most of a large flow: residuals are large (Theorems 1, 2)."""
    model = chain(Apply(torch.asinh))
    model[0].weight.data.mul_(1000)
    diagnosis = found(model)
    assert diagnosis.neuron_wise.value > 0.1
    assert diagnosis.neuron_wise.where.startswith("0, channel")
    assert diagnosis.cut_wise.value > 0.1


@pytest.mark.parametrize("exponent", [400, -400])
def test_flow_out_of_range_is_rescaled_as_in_prune(exponent):
    """R is 2^1200 times larger or smaller; all else is the same (App. 11)."""
    model = chain(nn.ReLU()).double()
    usual = found(model)
    for weight in model.parameters():
        weight.data.mul_(2.0**exponent)
    far = found(model)
    assert far.scale != 0
    assert float(far.unscaled_R / Decimal(2) ** (len(far.layers) * exponent)) == usual.R
    assert verdict(far) == verdict(usual)
    assert [one.share for one in far.layers] == [one.share for one in usual.layers]


def test_scores_out_of_range_name_the_layer_and_the_cure():
    """R overflows in float32, rescaled or not, and not in float64 (App. 11)."""
    model = chain(nn.ReLU())
    for weight in model.parameters():
        weight.data.mul_(1e35)
    single, double = found(model, dtype=torch.float32), found(model)
    holds, sentence = verdict(single)
    assert not holds
    assert "scores leave the range of float32 (R = inf, first in 0.weight)" in sentence
    assert "score in float64" in sentence
    assert verdict(double)[0]


def test_a_network_without_a_path_has_no_guarantees():
    """R = 0: the first layer writes to channels that the second one does not read."""
    model = chain(nn.ReLU())
    model[0].weight.data[2:] = 0
    model[2].weight.data[:, :2] = 0
    diagnosis = found(model)
    assert not diagnosis.zeros
    assert layer(diagnosis, "0.weight").cause == "no flow gets through it"
    assert layer(diagnosis, "5.weight").cause == "no flow gets through it"
    assert not verdict(diagnosis)[0]
    assert "no path leads from input to output" in verdict(diagnosis)[1]


# Causes of zero scores


def test_taps_that_read_only_padding():
    """A 3x3 kernel on a 1x1 map reads it with one of its nine taps."""
    small = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 3, padding=1, bias=False)]
    model = chain(*small, nn.Upsample(scale_factor=6))
    one = layer(found(model), "2.weight")
    assert one.zero == 8 * 16
    assert one.cause == "8 of 9 kernel taps read only padding"
    holds, sentence = verdict(found(model))
    assert holds
    assert "of the weights score 0 and go first (8 of 9 kernel taps" in sentence


def test_branches_that_start_at_zero():
    """zero_init_residual: gamma = 0 closes every branch, so gamma is read as 1, and named."""
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10, zero_init_residual=True)
    diagnosis = found(model, (3, 64, 64))
    assert diagnosis.zeros == tuple(f"layer{i}.0.bn2.weight" for i in range(1, 5))
    assert not any(one.zero for one in diagnosis.layers)
    holds, sentence = verdict(diagnosis)
    assert holds
    assert "layer1.0.bn2.weight (and 3 more) is 0 throughout but read as 1" in sentence


def test_channels_that_lead_nowhere():
    """A channel whose outgoing weights are 0 has score 0 on the incoming ones as well."""
    model = chain(nn.ReLU())
    model[2].weight.data[:, 1] = 0
    diagnosis = found(model)
    assert layer(diagnosis, "0.weight").zero == 27
    assert layer(diagnosis, "0.weight").cause == "no flow gets through some channels"
    assert layer(diagnosis, "2.weight").cause == "weights that are 0"
