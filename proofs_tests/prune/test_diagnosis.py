"""`diagnose` separates networks that the theorems cover from others, and gives the reasons.

Residuals are measured in float64, so they are compared with a tolerance for its rounding.
"""

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision.models import ConvNeXt, VisionTransformer
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from cli import main
from proofs_tests.tools.torch_strategies import Apply
from prune import Probe
from prune.diagnosis.conservation import by_channel, layer_cuts
from prune.diagnosis.measure import diagnose
from prune.diagnosis.trace import INPUT, Operation, Stream
from prune.diagnosis.verdict import verdict
from prune.masks import dense_masks
from prune.scores import synaptic_flow
from train.models import build

IMAGE = (3, 16, 16)
TINY = 1e-12  # relative rounding error of sums of a few thousand float64 numbers, at most


def chain(*middle, seed=0):
    """A convolution, the layers under test, a convolution and a linear layer, without biases."""
    torch.manual_seed(seed)
    parts = [nn.Conv2d(3, 4, 3, bias=False), *middle, nn.Conv2d(4, 5, 3, bias=False)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3, False))


def found(model, shape=IMAGE, dtype=torch.float64):
    return diagnose(model, Probe(shape, dtype=dtype))


def layer(diagnosis, name):
    return next(one for one in diagnosis.layers if one.name == name)


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
    assert not diagnosis.inhomogeneous and not diagnosis.shifts and not diagnosis.zero_scales
    assert diagnosis.neuron_wise.compared == 4 + 5
    assert diagnosis.neuron_wise.value < TINY
    assert diagnosis.cut_wise.compared == 1 + 3
    assert diagnosis.cut_wise.value < TINY
    assert all(one.is_cut and abs(one.share - 1) < TINY for one in diagnosis.layers)
    holds, sentence = verdict(diagnosis)
    assert holds
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


BENT = {
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "elu": Apply(lambda x: F.elu(x - x) + F.elu(-x)),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "softplus": nn.Softplus(),
    "hardswish": nn.Hardswish(),
    "softmax": nn.Softmax(1),
    "hardtanh": nn.Hardtanh(0, 0.5),
    "normalize": Apply(F.normalize),
    "mul": Apply(lambda x: x * x),
    "add of a constant": Apply(lambda x: x + torch.ones(())),
}


@pytest.mark.parametrize("unit", BENT)
def test_units_that_are_not_homogeneous_are_named(unit):
    """phi(z) is not phi'(z) z (Theorem 1): the operation and its module are named."""
    diagnosis = found(chain(BENT[unit]))
    assert (unit, "1") in {
        (operation.name, operation.module) for operation in diagnosis.inhomogeneous
    }
    holds, sentence = verdict(diagnosis)
    assert not holds
    assert "not homogeneous" in sentence
    assert "in 1" in sentence


def test_gelu_is_found_where_it_is_almost_linear():
    """At large flow GELU is the identity and all is conserved; pruning makes flow small."""
    model = chain(nn.GELU())
    for weight in model.parameters():
        weight.data.mul_(1000)
    diagnosis = found(model)
    assert max(diagnosis.cut_wise.value, diagnosis.neuron_wise.value) < TINY
    assert "seen only when flow is as small as pruning makes it" in verdict(diagnosis)[1]


@pytest.mark.parametrize("flow", [6e-7, 0.75, 1.0, 1e9])
def test_gelu_is_found_at_any_flow(flow):
    """GELU is z / 2 near 0 and z far from 0; in between it is not homogeneous (Theorem 1)."""
    model = nn.Sequential(nn.Linear(1, 1, False), nn.GELU(), nn.Linear(1, 1, False))
    model[0].weight.data.fill_(flow)
    assert [operation.name for operation in found(model, (1,)).inhomogeneous] == ["gelu"]


def test_inhomogeneous_units_do_not_conserve_flow():
    """Tanh at moderate flow loses most of it: residuals are large (Theorem 1, Theorem 2)."""
    diagnosis = found(chain(nn.Tanh()))
    assert diagnosis.neuron_wise.value > 0.1
    assert diagnosis.neuron_wise.where.startswith("0, channel")
    assert diagnosis.cut_wise.value > 0.1


def test_differences_make_scores_negative():
    """Theorem 3 needs positive scores; in a - b those of b are negative, though conserved."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(4, 3, False), "b": nn.Linear(4, 3, False)})
    model.forward = lambda x: 5 * model["a"](x) - model["b"](x)
    diagnosis = found(model, (4,))
    assert [one.negative for one in diagnosis.layers] == [0, 12]
    assert diagnosis.cut_wise.value < TINY
    holds, sentence = verdict(diagnosis)
    assert not holds
    assert "12 scores are negative, first in b.weight" in sentence


def test_scores_out_of_range_name_the_layer_and_the_cure():
    """R overflows in float32 and not in float64 (App. 11)."""
    model = chain(nn.ReLU())
    for weight in model.parameters():
        weight.data.mul_(1e15)
    single, double = found(model, dtype=torch.float32), found(model)
    assert layer(single, "0.weight").not_finite == 108
    holds, sentence = verdict(single)
    assert not holds
    assert "scores leave the range of float32 (R = inf, first in 0.weight)" in sentence
    assert "score in float64" in sentence
    assert verdict(double)[0]


def test_a_network_without_a_path_has_no_guarantees():
    """R = 0: no path is open."""
    model = chain(nn.ReLU())
    model[0].weight.data.zero_()
    diagnosis = found(model)
    assert layer(diagnosis, "0.weight").cause == "weights that are 0"
    assert layer(diagnosis, "2.weight").cause == "no flow gets through it"
    assert "no path leads from input to output" in verdict(diagnosis)[1]


# Parts that scoring does not read


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)])
def test_normalisation_by_the_input_holds_only_as_it_is_scored(norm):
    """Read as a scale it is homogeneous; in the network itself it is not."""
    diagnosis = found(chain(norm, nn.ReLU()))
    holds, sentence = verdict(diagnosis)
    assert holds
    assert "as it is scored, but not for itself" in sentence
    assert "once, in 1" in sentence


def test_batch_norm_with_stored_statistics_is_a_scale():
    """In eval mode it is a scale. Without stored statistics it divides by those of its input."""
    stored = found(chain(nn.BatchNorm2d(4)))
    own = found(chain(nn.BatchNorm2d(4, track_running_stats=False)))
    assert [n.by_input for n in stored.normalisations] == [False]
    assert [n.by_input for n in own.normalisations] == [True]
    assert "not for itself" not in verdict(stored)[1]


def test_shifts_that_are_not_zero_are_named():
    """Biases and running means do not enter R; those that are not 0 are named."""
    model = chain(nn.BatchNorm2d(4), nn.ReLU())
    model[1].running_mean.fill_(1)
    model[1].bias.data.fill_(1)
    assert found(model).shifts == ("1.bias", "1.running_mean")
    assert "1.bias (and 1 more) is not 0 but read as 0" in verdict(found(model))[1]


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
    """zero_init_residual: gamma = 0 closes every branch, so gamma is named as the cause."""
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10, zero_init_residual=True)
    diagnosis = found(model)
    assert sum(one.zero for one in diagnosis.layers) > 0.9 * sum(o.size for o in diagnosis.layers)
    assert layer(diagnosis, "layer1.0.conv1.weight").cause == "no flow gets through it"
    assert "layer1.0.bn2.weight (and 3 more) is 0 throughout" in verdict(diagnosis)[1]


def test_channels_that_lead_nowhere():
    """A channel whose outgoing weights are 0 has score 0 on the incoming ones as well."""
    model = chain(nn.ReLU())
    model[2].weight.data[:, 1] = 0
    diagnosis = found(model)
    assert layer(diagnosis, "0.weight").zero == 27
    assert layer(diagnosis, "0.weight").cause == "no flow gets through some channels"
    assert layer(diagnosis, "2.weight").cause == "weights that are 0"


# Networks of torchvision


def test_a_vision_transformer_does_not_qualify():
    """Softmax attention and GELU are not homogeneous, nor is the LayerNorm read as a scale."""
    torch.manual_seed(0)
    model = VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=10)
    nn.init.normal_(model.heads.head.weight)
    holds, sentence = verdict(found(model))
    assert not holds
    for part in ("softmax attention (2 times", "gelu (2 times", "layer_norm (5 times"):
        assert part in sentence


def test_a_convnext_does_not_qualify():
    """Its GELU is not homogeneous, nor is the LayerNorm that scoring reads as a scale."""
    torch.manual_seed(0)
    model = ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=10)
    holds, sentence = verdict(found(model, (3, 32, 32)))
    assert not holds
    assert "gelu (2 times, first in features.1.0.block.4) is not homogeneous" in sentence
    assert "nor is layer_norm (5 times" in sentence


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_resnet_qualifies(block):
    """Convolution, batch norm, ReLU, pooling and shortcuts are all covered (Sec. 4)."""
    diagnosis = found(ResNet(block, [1, 1, 1, 1], num_classes=10))
    assert verdict(diagnosis)[0]
    assert max(diagnosis.cut_wise.value, diagnosis.neuron_wise.value) < TINY


@pytest.mark.parametrize("name", ["vgg16", "vgg19-plain"])
def test_a_vgg_qualifies(name):
    """A chain of 16 or 19 layers is covered (Sec. 4); all of its hidden channels are compared."""
    diagnosis = found(build(name, (3, 32, 32), 10, width=0.25), (3, 32, 32))
    assert diagnosis.neuron_wise.compared == {"vgg16": 4224, "vgg19-plain": 5504}[name] // 4
    assert verdict(diagnosis)[0]
    assert max(diagnosis.cut_wise.value, diagnosis.neuron_wise.value) < TINY


# The parts


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_by_channel_follows_the_layer(kind, groups):
    """The sums are the responses of a layer with these weights, by input and output channel."""
    conv = kind(4, 6, 3, groups=groups, bias=False)
    scores = torch.arange(conv.weight.numel()).double().reshape(conv.weight.shape)
    conv.weight.data.copy_(scores)
    into, out = by_channel(nn.Sequential(conv), "0.weight", scores)
    conv.double()
    for j in range(4):
        x = torch.zeros(1, 4, 3, dtype=torch.float64)
        x[0, j, 1] = 1
        assert conv(F.pad(x, (2, 2)) if kind is nn.Conv1d else x).sum().item() == out[j]
    ones = torch.ones(1, 4, 1, dtype=torch.float64)
    y = conv(F.pad(ones, (2, 2)) if kind is nn.Conv1d else ones)
    assert y.sum((0, 2)).tolist() == into.tolist()


@st.composite
def networks_of_layers(draw):
    """Layers that each read the input or earlier layers, and an output that reads some."""
    count = draw(st.integers(1, 5))
    names = [INPUT, *map(str, range(count))]
    reads = [draw(st.sets(st.sampled_from(names[: i + 1]), min_size=1)) for i in range(count)]
    at_output = draw(st.sets(st.sampled_from(names), min_size=1))
    weighted = [
        Operation("linear", "", (str(i),), Stream(frozenset(r), True), 0.0)
        for i, r in enumerate(reads)
    ]
    return weighted, frozenset(at_output)


def paths(weighted, at_output):
    """Every path from the input to the output, as the set of its layers."""
    ways = {INPUT: [frozenset()]}
    for o in weighted:
        (name,) = o.layers
        ways[name] = [way | {name} for source in o.reads.sources for way in ways[source]]
    return [way for name in at_output for way in ways[name]]


@given(networks_of_layers())
def test_each_path_crosses_a_cut_exactly_once(network):
    """C(S) of layers, S closed downstream (Theorem 2, Eq. 7)."""
    for cut in layer_cuts(*network):
        assert all(len(cut & way) == 1 for way in paths(*network))


@given(networks_of_layers())
def test_every_layer_that_is_a_cut_is_found(network):
    """If all layers lead to the output, those on every path, and no others, are cuts alone."""
    weighted, at_output = network
    ways = paths(weighted, at_output)
    if set().union(*ways) < {o.layers[0] for o in weighted}:
        return
    on_every_path = {name for name in set().union(*ways) if all(name in way for way in ways)}
    cuts = layer_cuts(weighted, at_output)
    assert {name for (name,) in (c for c in cuts if len(c) == 1)} == on_every_path


# The command


def test_the_command_prints_the_diagnosis_without_data(tmp_path, monkeypatch):
    """R, residuals, shares and last the verdict; exit code 0; no file is read or written."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        main, ["diagnose", "--model", "resnet20", "--dataset", "cifar100", "--width", "0.25"]
    )
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("resnet20 for cifar100: 18,") and "R = " in lines[0]
    starts = ("neuron-wise", "cut-wise", "single cuts", "read as scale", "scores")
    assert all(line.startswith(start) for line, start in zip(lines[1:], starts))
    assert "conv1.weight, fc.weight" in lines[3]
    assert "21 batch_norm" in lines[4]
    assert "0.00% zero, 0.00% negative, 0.00% not finite" in lines[5]
    assert lines[-1].startswith("The guarantees (Theorems 1 to 4) hold")
    assert not list(tmp_path.iterdir())


def test_the_command_lists_the_layers_that_cause_trouble():
    """Each layer with zero, negative or non-finite scores has a line: shares and cause."""
    result = CliRunner().invoke(main, ["diagnose", "--model", "torchvision:resnet18"])
    assert result.exit_code == 0, result.output
    row = next(r for r in result.output.splitlines() if "layer4.1.conv1.weight" in r)
    assert row.split()[1:4] == ["88.89%", "0.00%", "0.00%"]
    assert row.endswith("8 of 9 kernel taps read only padding")


@pytest.mark.parametrize("option", ["model", "dataset", "init", "score-dtype", "device"])
def test_bad_options_are_refused(option):
    """The exit code is 2, and the message names the value."""
    result = CliRunner().invoke(main, ["diagnose", f"--{option}", "nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output
