"""`diagnose` names the operations that SynFlow reads otherwise, and their readings."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import ConvNeXt, VisionTransformer
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from proofs_tests.tools.diagnoses import TINY, chain, found, layer
from proofs_tests.tools.torch_strategies import Apply
from prune.diagnosis import itself, verdict
from prune.skeleton.rules import RULES
from train.models import build

# Networks that are covered as they are scored


def overwritten(x):
    x[:, :, 0] = 1.0
    return x


READ = {
    "gelu": (nn.GELU(), "ReLU"),
    "silu": (nn.SiLU(), "ReLU"),
    "elu": (Apply(lambda x: F.elu(x - x) + F.elu(-x)), "ReLU"),
    "tanh": (nn.Tanh(), "ReLU"),
    "softplus": (nn.Softplus(), "ReLU"),
    "hardswish": (nn.Hardswish(), "ReLU"),
    "hardtanh": (nn.Hardtanh(0, 0.5), "ReLU"),
    "sqrt": (Apply(torch.sqrt), "ReLU"),
    "sigmoid": (nn.Sigmoid(), "an open gate or ReLU"),
    "softmax": (nn.Softmax(1), "an open gate or ReLU"),
    "normalize": (Apply(F.normalize), "the identity"),
    "round": (Apply(torch.round), "the identity"),
    "mul": (Apply(lambda x: x * x.mean()), "an open gate"),
    "div": (Apply(lambda x: x / x.mean()), "a divisor of 1"),
    "matmul": (Apply(lambda x: x @ x), "a mean"),
    "group_norm": (nn.GroupNorm(2, 4), "a scale"),
    "instance_norm": (nn.InstanceNorm2d(4, affine=True), "a scale"),
    "add of a constant": (Apply(lambda x: x + 1), "0"),
    "logsumexp": (Apply(lambda x: x.logsumexp(1, keepdim=True).expand_as(x)), "a maximum"),
    "prod": (Apply(lambda x: x * 0 + x.prod(3, keepdim=True)), "a mean"),
    "pad of a constant": (Apply(lambda x: F.pad(x, (1, 1), value=2.0)), "0"),
    "setitem of a constant": (Apply(lambda x: overwritten(x.clone())), "0"),
    "cat of a constant": (Apply(lambda x: torch.cat([x, torch.ones_like(x)], 2)), "0"),
}


def test_every_reading_has_a_word():
    """A new rule of the skeleton needs one here, too."""
    assert set(RULES.values()) == set(itself.READ) | itself.AS_THEY_ARE


@pytest.mark.parametrize("unit", READ)
def test_units_that_are_not_homogeneous_are_read_as_others_that_are(unit):
    """phi(z) is not phi'(z) z (Theorem 1) for itself: named with its module, and its reading.

    As scored, flow is conserved at neurons and over cuts.
    """
    module, reading = READ[unit]
    diagnosis = found(chain(module))
    assert (unit, "1", reading) in diagnosis.otherwise
    assert not diagnosis.inhomogeneous
    assert max(diagnosis.cut_wise.value, diagnosis.neuron_wise.value) < TINY
    holds, sentence = verdict(diagnosis)
    assert holds
    assert "hold for the network as scored, but not for the network itself" in sentence
    assert f"in 1) read as {reading}" in sentence
    assert "; as scored, every operation is homogeneous" in sentence


@pytest.mark.parametrize("flow", [0.0, 6e-7, 0.75, 1.0, 1e9])
def test_a_unit_is_found_at_any_flow(flow):
    """GELU is z / 2 near 0, z far from 0, and ReLU6 is z below 6 (Theorem 1)."""
    model = nn.Sequential(nn.Linear(1, 1, False), nn.GELU(), nn.ReLU6(), nn.Linear(1, 1, False))
    model[0].weight.data.fill_(flow)
    assert [one[:2] for one in found(model, (1,)).otherwise] == [("gelu", "1"), ("hardtanh", "2")]


@pytest.mark.parametrize("tokens", [1, 5])
def test_attention_over_equal_tokens_is_not_homogeneous(tokens):
    """On ones all tokens are equal and softmax attention is their mean; in general it is not."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)
    head = nn.Linear(16 * tokens, 10)
    diagnosis = found(nn.Sequential(encoder, nn.Flatten(), head), (tokens, 16))
    names = [one.name for one in diagnosis.otherwise]
    assert names.count("multi_head_attention_forward") == 2
    assert names.count("layer_norm") == 4
    holds, sentence = verdict(diagnosis)
    assert holds
    first = "softmax attention (2 times, first in 0.layers.0.self_attn) read as the mean over tok"
    assert first in sentence
    assert "0.layers.0.self_attn.in_proj_weight" in [one.name for one in diagnosis.layers]


def test_distances_are_read_as_sums():
    """A length is homogeneous, and not the sum of the flows that enter it; a sum is."""
    diagnosis = found(chain(Apply(lambda x: torch.hypot(x, 2 * x))))
    assert diagnosis.simplified == (("hypot", "1", "a sum"),)
    assert not diagnosis.otherwise
    assert verdict(diagnosis)[0]


def test_differences_are_read_as_sums():
    """In a - b the scores of b would be negative, and Theorem 3 needs positive ones."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(4, 3, False), "b": nn.Linear(4, 3, False)})
    model.forward = lambda x: 5 * model["a"](x) - model["b"](x)
    diagnosis = found(model, (4,))
    assert [one.negative for one in diagnosis.layers] == [0, 0]
    assert diagnosis.cut_wise.value < TINY
    holds, sentence = verdict(diagnosis)
    assert holds and not diagnosis.otherwise
    assert "sub (once, in the model itself) read as a sum for positive scores" in sentence


class Standardised(nn.Conv2d):
    """A convolution with weight standardisation."""

    def forward(self, x):
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, centred / (centred.std((1, 2, 3), keepdim=True) + 1e-5))


def test_a_norm_of_weights_is_a_fixed_divisor():
    """Divided by its own norm, a layer has no effect on R for itself; as scored it is a cut."""
    diagnosis = found(chain(Standardised(4, 4, 3), nn.ReLU()))
    assert diagnosis.otherwise == (("div of weights", "1", "a fixed divisor"),)
    assert layer(diagnosis, "1.weight").is_cut
    assert layer(diagnosis, "1.weight").share == pytest.approx(1, rel=TINY)
    assert verdict(diagnosis)[0]


# Parts that scoring does not read


def test_batch_norm_with_stored_statistics_is_a_scale():
    """In eval mode it is a scale. Without stored statistics it divides by those of its input."""
    stored = found(chain(nn.BatchNorm2d(4)))
    own = found(chain(nn.BatchNorm2d(4, track_running_stats=False)))
    assert [n.by_input for n in stored.normalisations] == [False]
    assert [n.by_input for n in own.normalisations] == [True]
    assert "itself" not in verdict(stored)[1]
    assert "batch_norm (once, in 1) read as a scale" in verdict(own)[1]


def test_shifts_that_are_not_zero_are_named():
    """Biases and running means do not enter R; those that are not 0 are named."""
    model = chain(nn.BatchNorm2d(4), nn.ReLU())
    model[1].running_mean.fill_(1)
    model[1].bias.data.fill_(1)
    assert found(model).shifts == ("1.bias", "1.running_mean")
    assert "1.bias (and 1 more) is not 0 but read as 0" in verdict(found(model))[1]


# Networks of torchvision


def test_a_vision_transformer_qualifies_as_scored():
    """Softmax attention, GELU and LayerNorm are not homogeneous, and are read as others."""
    torch.manual_seed(0)
    model = VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=10)
    nn.init.normal_(model.heads.head.weight)
    diagnosis = found(model)
    assert max(diagnosis.cut_wise.value, diagnosis.neuron_wise.value) < TINY
    assert not any(one.negative for one in diagnosis.layers)
    holds, sentence = verdict(diagnosis)
    assert holds
    for part in (
        "but not for the network itself",
        "softmax attention (2 times, first in encoder.layers.encoder_layer_0.self_attention) read",
        "gelu (2 times, first in encoder.layers.encoder_layer_0.mlp.1) read as ReLU",
        "layer_norm (5 times",
        "cat of a constant (once, in the model itself) and add of a constant (once, in encoder)",
        "class_token is 0 throughout but read as 1",
    ):
        assert part in sentence


def test_a_convnext_qualifies_as_scored():
    """Its GELU is read as ReLU, and its LayerNorm as a scale."""
    torch.manual_seed(0)
    model = ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=10)
    diagnosis = found(model, (3, 32, 32))
    assert max(diagnosis.cut_wise.value, diagnosis.neuron_wise.value) < TINY
    holds, sentence = verdict(diagnosis)
    assert holds
    assert "but not for the network itself" in sentence
    assert "gelu (2 times, first in features.1.0.block.4) read as ReLU" in sentence
    assert "layer_norm (5 times, first in features.0.1) read as a scale" in sentence


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
