"""The deviation of R from draw to draw: exact for small networks, from no draw."""

from itertools import pairwise, product
from math import exp, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from proofs_tests.tools import kinds
from proofs_tests.tools.torch_strategies import Dense, Residual, networks
from prune import Probe, architecture, prunable
from prune.architecture import architecture_flow, log_flow
from prune.masks import dense_masks
from prune.scores import synaptic_flow
from reference.architecture import mean_square

LOW, HIGH = 0.5, 2.0


def two_points(name, shape):
    """An init in which each |weight| is LOW or HIGH, with equal chances."""
    return (LOW + HIGH) / 2, (LOW**2 + HIGH**2) / 2


def enumerated(model, shape):
    """The relative standard deviation of R over all networks of such weights."""
    weights = list(prunable(model).values())
    sizes = [weight.numel() for weight in weights]
    flows = []
    for choice in product((LOW, HIGH), repeat=sum(sizes)):
        for weight, part in zip(weights, torch.tensor(choice).split(sizes), strict=True):
            weight.data = part.view_as(weight)
        flows.append(exp(log_flow(model, shape)))
    return np.std(flows) / np.mean(flows)


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten())


CASES = {
    "linear": lambda: (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), (2,)),
    "tokens": lambda: (nn.Sequential(nn.Linear(2, 2), nn.ReLU(True), nn.Linear(2, 1)), (3, 2)),
    "convolutions": lambda: (
        flat(nn.Conv1d(1, 2, 2, padding=1), nn.LeakyReLU(), nn.Conv1d(2, 1, 2, stride=2)),
        (1, 3),
    ),
    "two dimensions": lambda: (
        flat(nn.Conv2d(1, 1, 2, padding=1), nn.BatchNorm2d(1), nn.GELU(), nn.Conv2d(1, 1, 2)),
        (1, 2, 2),
    ),
    "groups": lambda: (
        nn.Sequential(flat(nn.Conv1d(2, 2, 2, groups=2), nn.Tanh()), nn.Linear(4, 1)),
        (2, 3),
    ),
    "transposed": lambda: (
        flat(nn.ConvTranspose1d(2, 2, 2, stride=2, groups=2), nn.PReLU(), nn.Conv1d(2, 1, 2)),
        (2, 2),
    ),
    "residual": lambda: (
        nn.Sequential(
            nn.Conv1d(1, 2, 1),
            Residual(nn.Conv1d(2, 2, 1), nn.Identity()),
            nn.AvgPool1d(3, 1, 1),
            nn.Conv1d(2, 1, 1),
        ),
        (1, 3),
    ),
    "side by side": lambda: (
        nn.Sequential(Dense(nn.Conv1d(1, 1, 3, padding=1)), nn.ReLU(), nn.Conv1d(2, 1, 2)),
        (1, 3),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_that_of_all_networks_of_two_weights(case):
    model, shape = CASES[case]()
    found = architecture_flow(model, shape, two_points)
    assert found.exact
    assert found.deviation == pytest.approx(enumerated(model, shape), rel=1e-9)


def test_it_is_the_reference_s():
    sizes = (5, 7, 6, 3)
    shapes = [(after, before) for before, after in pairwise(sizes)]
    moments = {shape: (0.2 * i + 0.3, 0.3 * i + 0.9) for i, shape in enumerate(shapes)}
    model = nn.Sequential(*(nn.Linear(before, after) for after, before in shapes))
    found = architecture_flow(model, sizes[:1], lambda name, shape: moments[tuple(shape)])
    means, squares = (tuple(np.full(s, moments[s][i]) for s in shapes) for i in (0, 1))
    square = mean_square(means, squares) / exp(found.log_R) ** 2
    assert found.exact and found.deviation == pytest.approx(sqrt(square - 1), rel=1e-9)


def single(*arguments):
    """The deviation that single weights make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architecture, "LARGEST", 0)
        found = architecture_flow(*arguments)
    assert not found.exact
    return found.deviation


@settings(max_examples=40)
@given(networks(exact=False))
def test_single_weights_make_a_part_of_it(network):
    """All of it where one layer is drawn, all of whose weights count alike."""
    found = architecture_flow(network.model, network.shape, two_points)
    if found.log_R is None or found.bounds:
        assert not found.exact
        return
    assert found.exact
    assert single(network.model, network.shape, two_points) <= found.deviation * (1 + 1e-9)


def test_single_weights_make_all_of_it_in_one_linear_layer():
    found = architecture_flow(nn.Linear(3, 2), (3,))
    assert found.exact
    assert single(nn.Linear(3, 2), (3,)) == pytest.approx(found.deviation, rel=1e-12)


def test_it_is_exact_at_any_depth():
    """Each layer of one weight multiplies E R^2 / (E R)^2 by the same factor."""
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(500)))
    found = architecture_flow(model, (1,), lambda name, shape: (1e-9, 1.01e-18))
    assert found.exact and found.deviation == pytest.approx(sqrt(1.01**500 - 1), rel=1e-9)


class Parameter(nn.Module):
    """A linear layer that multiplies by its weight itself."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return x @ self.inner.weight.T


UNKNOWN = {
    "code for one example": lambda: nn.Sequential(
        nn.Linear(3, 3), kinds.Function(lambda x: x.reshape(1, 3)), nn.Linear(3, 3)
    ),
    "examples joined": lambda: nn.Sequential(
        nn.Linear(3, 3), kinds.Function(lambda x: x.flatten()[:3][None])
    ),
    "examples and tokens joined": lambda: nn.Sequential(
        nn.Linear(3, 3),
        kinds.Function(lambda x: x[:, None].expand(-1, 2, -1).flatten(0, 1)),
        nn.Linear(3, 3),
        nn.Unflatten(0, (-1, 2)),
    ),
    "a product of matrices": Parameter,
    "too many units": lambda: nn.Sequential(nn.Linear(3, 5000), nn.Linear(5000, 3)),
    "a maximum": lambda: nn.Sequential(nn.Linear(3, 3), kinds.Function(lambda x: x.amax(1))),
    "weights used twice": lambda: nn.Sequential(*[nn.Linear(3, 3)] * 2),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_elsewhere_it_is_said_not_to_be_exact(kind):
    found = architecture_flow(UNKNOWN[kind](), (3,))
    assert not found.exact and found.deviation > 0


def test_a_batch_as_an_example_is_no_single_one():
    found = architecture_flow(nn.Linear(3, 2), Probe(example=torch.ones(4, 3)))
    assert not found.exact and found.deviation > 0


def test_log_flow_is_the_log_of_synaptic_flow():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 2))
    flow = synaptic_flow(model, dense_masks(model), Probe((3, 6, 6)))
    assert log_flow(model, (3, 6, 6)) == pytest.approx(np.log(flow.R), abs=1e-12)


def test_log_flow_has_no_range():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(300)))
    for weight in prunable(model).values():
        weight.data.fill_(1e9)
    assert log_flow(model, (2,)) == pytest.approx(np.log(2) + 300 * np.log(2 * np.float32(1e9)))
    model[3].weight.data.zero_()
    model[4].weight.data[:, 0] = 0
    model[3].weight.data[0] = 1
    assert log_flow(model, (2,)) is None


@pytest.mark.parametrize(
    "function, bounds, orders",
    [
        (lambda x: x.amax(1), ("amax",), ()),
        (lambda x: x.norm(dim=1), ("norm",), ()),
        (lambda x: x.amin(1), (), ("amin",)),
        (lambda x: x.sort().values, (), ("sort",)),
        (lambda x: torch.minimum(x[:, :1], x[:, 1:]), (), ("minimum",)),
        (lambda x: x.softmax(1), (), ()),
    ],
)
def test_functions_that_are_not_linear_are_named(function, bounds, orders):
    found = architecture_flow(nn.Sequential(nn.Linear(3, 3), kinds.Function(function)), (3,))
    assert (found.bounds, found.orders) == (bounds, orders)
    assert found.exact == (not bounds + orders)
