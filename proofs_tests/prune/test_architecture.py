"""`architecture_flow`: the mean Synaptic Flow over initial weights, from no weights."""

from math import exp, log, sqrt
from statistics import mean, stdev

import pytest
import torch
import torchvision
from hypothesis import given, settings
from torch import nn

from proofs_tests.tools import kinds
from proofs_tests.tools.torch_strategies import Residual, networks
from prune import Probe, prunable
from prune.architecture import architecture_flow, log_flow
from prune.masks import dense_masks
from prune.scores import synaptic_flow
from train.initial import paper
from train.models import build


def constant(c):
    """An init in which each |weight| is c."""
    return lambda name, shape: (c, c * c)


def set_equal(model, c):
    """Set each weight to c or -c, and the statistics of normalisations to initial ones."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_parameters()
    for weight in prunable(model).values():
        weight.data = c * (2.0 * torch.randint(2, weight.shape) - 1)
    return model


def assert_equal_to_one_draw(model, probe, c):
    found = architecture_flow(model, probe, constant(c))
    flow = synaptic_flow(model, dense_masks(model), probe)
    if flow.R == 0:
        assert found.log_R is None
        return
    assert found.log_R == pytest.approx(log(flow.R), abs=1e-11)
    shares = {name: S.sum().item() / flow.R for name, S in flow.scores.items()}
    assert found.layers == pytest.approx(shares, rel=1e-9, abs=1e-12)
    assert found.deviation == 0
    assert found.log_score == pytest.approx(log(sum(shares.values()) * flow.R), abs=1e-11)


@settings(max_examples=60)
@given(networks(exact=False))
def test_it_is_synaptic_flow_where_all_magnitudes_of_a_layer_are_equal(network):
    assert_equal_to_one_draw(set_equal(network.model, 0.75), Probe(network.shape), 0.75)


COMPUTED = {"weight norm", "spectral norm", "orthogonal", "torch's mask"}
PLAIN = set(kinds.KINDS) - COMPUTED - {"scripted"}


@pytest.mark.parametrize("kind", sorted(PLAIN))
def test_so_it_is_for_layers_of_all_kinds(kind):
    assert_equal_to_one_draw(set_equal(kinds.made(kind), 0.5), Probe((5, 6)), 0.5)


@pytest.mark.parametrize("kind", sorted(COMPUTED))
def test_a_parametrised_weight_is_drawn_as_the_plain_one_is(kind):
    plain = architecture_flow(kinds.Kind(nn.Linear(6, 6)), (5, 6))
    flow = architecture_flow(kinds.made(kind), (5, 6))
    assert flow.log_R == pytest.approx(plain.log_R)


@pytest.mark.parametrize(
    "name", ["vgg11", "resnet20", "torchvision:densenet121", "torchvision:mobilenet_v2"]
)
def test_so_it_is_for_networks_of_images_built_on_the_meta_device(name):
    model = set_equal(build(name, (3, 32, 32), 10), 2.0**-7)
    probe = Probe((3, 32, 32))
    assert_equal_to_one_draw(model, probe, 2.0**-7)
    unbuilt = architecture_flow(
        lambda: build(name, (3, 32, 32), 10), (3, 32, 32), constant(2.0**-7)
    )
    assert unbuilt == architecture_flow(model, probe, constant(2.0**-7))


SMALL = {
    "vgg": lambda: build("vgg11", (3, 64, 64), 10, width=1 / 8),
    "resnet": lambda: build("resnet20", (3, 64, 64), 10, width=1 / 4),
    "densenet": lambda: torchvision.models.DenseNet(4, (2, 3, 3, 2), 8, num_classes=10),
    "mobilenet": lambda: torchvision.models.mobilenet_v2(width_mult=0.15, num_classes=10),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_it_is_the_mean_of_a_thousand_seeds(name):
    """Within three standard errors; and the draws deviate at least as much as it says."""
    model, probe = SMALL[name](), Probe((3, 64, 64))
    paper(model, name)
    found = architecture_flow(model, probe)
    ratios = []
    for seed in range(1000):
        torch.manual_seed(seed)
        paper(model, name)
        ratios.append(exp(log_flow(model, probe) - found.log_R))
    assert abs(mean(ratios) - 1) < 3 * stdev(ratios) / sqrt(1000)
    assert 0.9 * found.deviation < stdev(ratios)


def chain(depth, *between):
    layers = [layer() for _ in range(depth) for layer in (lambda: nn.Linear(2, 2), *between)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("c", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("depth", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_deep_chains_neither_overflow_nor_vanish(depth, c):
    found = architecture_flow(chain(depth, lambda: nn.BatchNorm1d(2)), (2,), constant(c))
    by_hand = log(2) + depth * (log(2 * c) - log(1 + 1e-5) / 2)
    assert found.log_R == pytest.approx(by_hand, rel=1e-12)
    assert found.path_length == pytest.approx(depth)


def test_two_thousand_residual_blocks():
    """Each block doubles the identity, or adds twice as much to it: (1 + 2)^2000."""
    blocks = [Residual(nn.Linear(2, 2), nn.Identity()) for _ in range(2000)]
    found = architecture_flow(nn.Sequential(*blocks, nn.Linear(2, 2)), (2,), constant(1.0))
    assert found.log_R == pytest.approx(2000 * log(3) + log(4), rel=1e-12)
    assert found.path_length == pytest.approx(2000 * 2 / 3 + 1)


def test_streams_of_other_depths_join_at_one_power_of_two():
    """(2 x 8)^200 = (2 x 2^799)^1 = 2^800 in both branches: half of the flow takes each."""
    branches = Residual(chain(200), nn.Linear(2, 2))

    def init(name, shape):
        return (2.0**799, 0.0) if name.startswith("shortcut") else (8.0, 64.0)

    found = architecture_flow(branches, (2,), init)
    assert found.log_R == pytest.approx(log(2) * 802, rel=1e-13)
    assert found.modules == pytest.approx({"branch": 100, "shortcut": 0.5})


class InPlace(nn.Module):
    """A deep branch that is added in place to a shallow one, and written into a new tensor."""

    def __init__(self, depth):
        super().__init__()
        self.deep, self.shallow = chain(depth), nn.Linear(2, 2)

    def forward(self, x):
        both = torch.zeros(1, 2, 2)
        both[:, 0] = self.deep(x)
        both[:, 1] = self.deep(x).add_(self.shallow(x))
        return both


def test_streams_that_are_written_in_place_keep_their_power_of_two():
    found = architecture_flow(InPlace(100), (2,), constant(8.0))
    assert found.log_R == pytest.approx(log(2 * (2 * 16.0**100) + 2 * 16), rel=1e-13)
    assert found.bounds == ("weights used more than once",)


def test_a_network_without_a_path_is_said_to_have_none():
    closed = nn.Sequential(nn.Linear(2, 2), kinds.Function(lambda x: 0 * x), nn.Linear(2, 2))
    found = architecture_flow(closed, (2,))
    assert (found.log_R, found.path_length, found.log_score, found.deviation) == (None,) * 4


def test_reasons_for_a_lower_bound_are_named():
    maximum = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(1))
    assert architecture_flow(maximum, (1, 4, 4)).bounds == ("adaptive_max_pool2d", "max_pool2d")
    assert architecture_flow(kinds.made("lstm"), (5, 6)).bounds == ("weights used more than once",)
    assert architecture_flow(kinds.made("gated"), (5, 6)).bounds == ()


def test_the_network_stays_as_it_is():
    model = set_equal(build("resnet20", (3, 32, 32), 10, width=0.25), 0.1).train()
    before = kinds.state(model)
    architecture_flow(model, (3, 32, 32))
    assert kinds.state(model) == before


def test_trained_weights_and_statistics_are_not_read():
    fresh, trained = (build("resnet20", (3, 32, 32), 10, width=0.25) for _ in range(2))
    for t in (*trained.parameters(), *trained.buffers()):
        t.data.mul_(3).add_(2)
    assert architecture_flow(fresh, (3, 32, 32)) == architecture_flow(trained, (3, 32, 32))


def test_inits_differ_by_a_factor_for_each_weight_on_a_path():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    ours, torchs = (architecture_flow(model, (4,), init).log_R for init in ("paper", "torch"))
    factor = sqrt(2 / 4) * sqrt(2 / torch.pi) / (1 / (2 * sqrt(4)))
    assert ours - torchs == pytest.approx(2 * log(factor))


@pytest.mark.parametrize(
    "network, init, words",
    [
        (nn.Linear(2, 2), "kaiming", "init must be one of paper, fan_out, torch or a function"),
        (nn.ReLU(), "paper", "nothing to prune"),
        (lambda: [float(x) for x in torch.linspace(0, 1, 3)], "paper", "give the network itself"),
        (kinds.made("scripted"), "paper", "before torch.jit"),
        (lambda: 1, "paper", "the function made a int"),
        (nn.Linear(2, 2), constant(1e309), "leaves the range of float64"),
    ],
)
def test_errors_are_one_sentence_with_the_cure(network, init, words):
    with pytest.raises((ValueError, FloatingPointError), match=words):
        architecture_flow(network, (2,), init)
