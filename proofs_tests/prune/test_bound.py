"""A bound on the change of torch networks: never violated in random ones, and where it is met."""

from copy import deepcopy

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from proofs_tests.tools.draws import half_as_many
from proofs_tests.tools.torch_strategies import Apply, batch, networks
from prune import Probe, prune
from prune.bound import change_bound
from prune.masks import dense_masks, masked
from prune.scores import synaptic_flow
from train.models import build

MAXIMA = nn.MaxPool2d | nn.AdaptiveMaxPool2d


def some_masks(model, seed):
    """Return masks that keep about half of the weights."""
    generator = torch.Generator().manual_seed(seed)
    dense = dense_masks(model)
    return {n: torch.rand(m.shape, generator=generator) < 0.5 for n, m in dense.items()}


def outputs(model, masks, x):
    """Return f(x) and f_pruned(x) in eval mode and float64."""
    model = deepcopy(model).double().eval()
    theta = dict(model.named_parameters())
    with torch.no_grad():
        return model(x), functional_call(model, masked(theta, masks), (x,))


def inputs(network, seed):
    """Return examples of random numbers, of signs, and of ones; each number within -1 and 1."""
    x = batch(network.shape, seed, examples=8)
    return torch.cat([x / 2, x.sign(), torch.ones_like(x[:1])])


def positive(model):
    """Return the network with the magnitudes of its parameters."""
    model = deepcopy(model)
    for p in model.parameters():
        p.data.abs_()
    return model


def has_maxima(model):
    return any(isinstance(module, MAXIMA) for module in model.modules())


@given(networks(exact=True), st.integers(0, 999))
def test_no_output_moves_by_more_than_its_bound_in_integers(network, seed):
    """Convolutions, pooling, batch norm, branches, biases; nothing is rounded."""
    model, shape = network
    masks = some_masks(model, seed)
    bound = change_bound(model, masks, Probe(shape))
    y, pruned = outputs(model, masks, inputs(network, seed))
    assert (abs(y - pruned) <= bound.change).all()
    assert (abs(y) <= bound.output).all()


@given(networks(exact=False), st.integers(0, 999))
def test_no_output_moves_by_more_than_its_bound(network, seed):
    model, shape = network
    masks = some_masks(model, seed)
    bound = change_bound(model, masks, Probe(shape), largest=3)
    y, pruned = outputs(model, masks, 3 * inputs(network, seed))
    assert (abs(y - pruned) <= bound.change * (1 + 1e-9) + 1e-12).all()
    assert (abs(y) <= bound.output * (1 + 1e-9) + 1e-12).all()


@given(networks(exact=True, biases=False), st.integers(0, 999), st.sampled_from([1, 2]))
def test_the_bounds_sum_to_R_and_to_the_loss_of_R(network, seed, largest):
    """Without shifts and maxima: `largest` times R, and R - R' (Eq. 5), as in reference/."""
    model, shape = network
    assume(not has_maxima(model))
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            module.weight.data.clamp_(-1, 1)  # steeper ones are not in R
    probe, masks = Probe(shape), some_masks(model, seed)
    bound = change_bound(model, masks, probe, largest)
    R, left = (synaptic_flow(model, m, probe).R for m in (dense_masks(model), masks))
    assert bound.output.sum() == largest * R
    assert bound.change.sum() == largest * (R - left)


@half_as_many
@given(networks(exact=True, biases=False), st.integers(0, 999))
def test_positive_networks_reach_the_bound_at_ones(network, seed):
    """So no smaller one holds for these magnitudes; where a maximum is taken it may be larger."""
    model, shape = positive(network.model), network.shape
    assume(not has_maxima(model))
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            module.weight.data.clamp_(0, 1)
    masks = some_masks(model, seed)
    y, pruned = outputs(model, masks, torch.ones(1, *shape, dtype=torch.float64))
    bound = change_bound(model, masks, Probe(shape))
    assert torch.equal(y - pruned, bound.change) and torch.equal(y, bound.output)


def test_the_difference_of_two_maxima_is_no_bound():
    """Of 2 and -2 the first is pruned: the maximum falls from 2 to 0, that of |.| stays 2."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Unflatten(1, (1, 2)), nn.MaxPool1d(2))
    model[0].weight.data = torch.tensor([[2.0], [-2.0]])
    masks = {"0.weight": torch.tensor([[False], [True]])}
    y, pruned = outputs(model, masks, torch.ones(1, 1, dtype=torch.float64))
    assert (y - pruned).item() == 2
    assert change_bound(model, masks, Probe((1,))).change.item() == 2
    assert change_bound(model, masks, Probe((1,))).output.item() == 2


@pytest.mark.parametrize(
    ("name", "shape"), [("mlp", (1, 8, 8)), ("vgg11", (3, 32, 32)), ("resnet20", (3, 32, 32))]
)
def test_it_knows_the_networks_of_the_paper(name, shape):
    torch.manual_seed(0)
    model = build(name, shape, 10, 0.25)
    masks = prune(model, "synflow", Probe(shape), 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    bound = change_bound(model, masks, Probe(shape))
    y, pruned = outputs(model, masks, torch.rand(4, *shape, dtype=torch.float64))
    assert bound.change.shape == (1, 10)
    assert (0 < abs(y - pruned)).all() and (abs(y - pruned) <= bound.change).all()
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def linear(inputs=4, outputs=4):
    return nn.Linear(inputs, outputs)


class Scaled(nn.Module):
    """A linear layer whose weight is read by a multiplication first."""

    def __init__(self):
        super().__init__()
        self.layer = linear()

    def forward(self, x):
        return F.linear(x, self.layer.weight * 2)


REFUSED = {
    "sigmoid": nn.Sequential(linear(), nn.Sigmoid()),
    "gelu": nn.Sequential(linear(), nn.GELU()),
    "layer_norm": nn.Sequential(linear(), nn.LayerNorm(4)),
    "leaky_relu": nn.Sequential(linear(), nn.LeakyReLU(1.5)),
    "hardtanh": nn.Sequential(linear(), nn.Hardtanh(0.5, 1)),
    "batch_norm": nn.Sequential(linear(), nn.BatchNorm1d(4, track_running_stats=False)),
    "add": nn.Sequential(linear(), Apply(lambda x: x + 1)),
    "getitem": nn.Sequential(linear(), Apply(lambda x: x[:1])),
    "flatten": nn.Sequential(linear(), Apply(lambda x: x.flatten()), linear(8, 1)),
    "mul": Scaled(),
    "max_pool1d": nn.Sequential(
        linear(), Apply(lambda x: F.max_pool1d(x, 2, 2, 0, 1, False, True))
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_in_a_sentence(name):
    masks = some_masks(REFUSED[name], 0)
    with pytest.raises(ValueError, match=f"^change_bound has no rule for {name}.* it knows linear"):
        change_bound(REFUSED[name], masks, Probe((4,)))


def test_weights_that_are_computed_are_refused():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(linear()))
    with pytest.raises(ValueError, match="change_bound has no rule for"):
        change_bound(model, some_masks(model, 0), Probe((4,)))


def test_what_is_no_bound_is_refused():
    model = nn.Sequential(linear())
    masks = some_masks(model, 0)
    two = nn.Sequential(linear(), Apply(lambda x: (x, x)))
    with pytest.raises(ValueError, match="returns one tensor"):
        change_bound(two, some_masks(two, 0), Probe((4,)))
    with pytest.raises(FloatingPointError, match=r"leaves the range of torch\.float64"):
        change_bound(model, masks, Probe((4,)), largest=1e309)
    with pytest.raises(ValueError, match="fits no prunable weight"):
        change_bound(model, {"1.weight": masks["0.weight"]}, Probe((4,)))


UNITS = [nn.ReLU(), nn.ReLU6(), nn.Tanh(), nn.Softsign(), nn.Hardtanh(), nn.LeakyReLU(0.5)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: type(unit).__name__)
@pytest.mark.parametrize("inplace", [False, True])
def test_units_without_a_slope_above_1_leave_the_bound(unit, inplace):
    """And so do in-place sums, branches that are joined, and parts of the channels."""
    unit = deepcopy(unit)
    if inplace and hasattr(unit, "inplace"):
        unit.inplace = True

    def branches(x):
        y = x[:, :4].reshape(len(x), -1)
        y += x[:, 4:]
        return torch.cat([y - x[:, :4], y.unsqueeze(1).squeeze(1)], dim=1)

    torch.manual_seed(0)
    model = nn.Sequential(linear(4, 8), unit, Apply(branches), linear(8, 3)).double()
    for seed in range(50):
        masks = some_masks(model, seed)
        x = 2 * torch.rand(64, 4, dtype=torch.float64) - 1
        y, pruned = outputs(model, masks, 5 * x)
        bound = change_bound(model, masks, Probe((4,)), 5)
        assert (abs(y - pruned) <= bound.change).all() and (abs(y) <= bound.output).all()
