"""SynFlow-L2, the synaptic flow of the squared parameters: Theorems 1, 2 and 4 hold for it."""

import copy
from itertools import pairwise
from math import isclose

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from proofs_tests.tools.draws import half_as_many
from proofs_tests.tools.torch_strategies import networks
from prune import SCORES, Probe, connected, prunable, prune
from prune.masks import dense_masks, kept, size
from prune.pruning import default_steps
from prune.scores import synaptic_flow
from train.models import build

SQUARED = 2


def squared(model):
    """A float64 copy whose parameters are squared."""
    model = copy.deepcopy(model).double()
    for p in model.parameters():
        p.data.square_()
    return model


@given(networks(exact=False))
def test_it_is_synflow_of_the_squared_parameters(case):
    """Linear layers, convolutions, pooling, batch norm, residuals."""
    model, shape = case
    masks = dense_masks(model)
    found = SCORES["synflow-l2"](model.double(), masks, Probe(shape))
    expected = SCORES["synflow"](squared(model), masks, Probe(shape))
    for name in masks:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", ["exponential", "linear", "certified"])
def test_so_are_its_masks(schedule):
    torch.manual_seed(0)
    model, probe = build("vgg11", (3, 32, 32), 10, width=1 / 16).double(), Probe((3, 32, 32))
    taken, expected = [], []
    masks = prune(model, "synflow-l2", probe, 30, schedule=schedule, report=taken.append)
    same = prune(squared(model), "synflow", probe, 30, schedule=schedule, report=expected.append)
    assert all(torch.equal(masks[name], same[name]) for name in masks)
    assert [step.kept for step in taken] == [step.kept for step in expected]
    assert all(isclose(a.R, b.R) for a, b in zip(taken, expected, strict=True))
    plain = prune(model, "synflow", probe, 30, schedule=schedule)
    assert any(not torch.equal(masks[name], plain[name]) for name in masks)


@given(networks(residual=False))
def test_each_layer_of_a_chain_has_the_whole_flow(case):
    """Theorem 2: each layer is a cut, and its scores sum to R."""
    model, shape = case
    R, scores = synaptic_flow(model, dense_masks(model), Probe(shape, power=SQUARED))
    assume(R > 0)
    for S in scores.values():
        assert (S >= 0).all() and isclose(S.sum().item(), R, rel_tol=1e-9)


@given(st.lists(st.integers(1, 5), min_size=3, max_size=5), st.integers(0, 99))
def test_flow_into_a_neuron_is_flow_out_of_it(widths, seed):
    """Theorem 1, and R as the sum over paths of squared weights, by products of matrices."""
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b).double() for a, b in pairwise(widths)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    R, scores = synaptic_flow(model, dense_masks(model), Probe((widths[0],), power=SQUARED))
    S = list(scores.values())
    for into, out in pairwise(S):
        torch.testing.assert_close(into.sum(1), out.sum(0), rtol=1e-10, atol=0)
    paths = torch.ones(widths[0]).double()
    for layer in layers:
        paths = layer.weight.detach() ** 2 @ paths
    assert isclose(R, paths.sum().item(), rel_tol=1e-10)


@half_as_many
@given(networks(residual=False), st.integers(1, 40))
def test_certified_never_closes_the_last_path(case, left):
    """Theorem 4, to any compression that a chain can have."""
    model, shape = case
    masks = dense_masks(model)
    assume(connected(model, masks, shape))
    goal = max(left, len(masks))
    assume(goal <= size(masks))
    steps = []
    N = size(masks)
    found = prune(
        model, "synflow-l2", Probe(shape), N / goal, schedule="certified", report=steps.append
    )
    assert connected(model, found, shape) and kept(found) in (goal, goal + 1)
    assert all(step.prune_cut_ratio < 1 for step in steps)


def test_it_takes_the_steps_of_synflow_and_needs_no_data():
    assert default_steps("synflow-l2") == default_steps(SCORES["synflow-l2"]) == 100
    model = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))
    taken = []
    prune(model, SCORES["synflow-l2"], Probe((9,)), 4, report=taken.append)
    assert len(taken) == 100 and taken[0].R > 0


def test_a_tensor_of_zeros_is_read_as_one_and_biases_as_0():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double()
    model[0].weight.data = torch.tensor([[1.0, -2], [3, 0.5]]).double()
    nn.init.zeros_(model[1].weight)
    R, scores = synaptic_flow(model, dense_masks(model), Probe((2,), power=SQUARED))
    assert R == 1 + 4 + 9 + 0.25
    assert scores["0.weight"].tolist() == [[1, 4], [9, 0.25]]
    assert list(prunable(model)) == list(scores)
