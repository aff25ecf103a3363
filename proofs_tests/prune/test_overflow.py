"""Flows beyond the range of float64 are rescaled by powers of two (App. 11): the same masks."""

import sys
from decimal import Decimal
from fractions import Fraction
from math import isclose
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from prune import Probe, apply, connected, prune
from prune.fast.flow import read
from prune.masks import dense_masks, kept, size
from prune.overflow import fitted
from prune.positive import flow_at_ends
from prune.scores import synaptic_flow
from reference import pruning, saliency
from reference.corollaries import certified
from reference.mlp import Mlp
from train.models import build

WIDTHS = (2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2)
ENGINES = {"small": 2**17, "fast": 0, "plain": None}


@pytest.fixture(params=ENGINES)
def engine(request):
    """Each of the three ways in which `prune` computes SynFlow."""
    small = ENGINES[request.param]
    if small is None:
        with patch.object(sys.modules["prune.pruning"], "fast", None):
            yield
    else:
        with patch("prune.fast.algorithm.SMALL", small):
            yield


def deep_chain(factor):
    """Eleven layers of whole numbers from 1 to 3, each times `factor`: no sum is rounded."""
    generator = np.random.default_rng(0)
    shapes = zip(WIDTHS[1:], WIDTHS, strict=False)
    ints = [generator.integers(1, 4, shape) for shape in shapes]
    model = nn.Sequential(*(nn.Linear(*W.shape[::-1], bias=False).double() for W in ints))
    for layer, W in zip(model, ints, strict=True):
        layer.weight.data = torch.tensor(W).double() * 2.0**factor
    exact = np.vectorize(lambda w: Fraction(int(w)) * Fraction(2) ** factor, otypes=[object])
    return model, Mlp(tuple(map(exact, ints)))


def same(masks, expected):
    return all((m.numpy() == e).all() for m, e in zip(masks.values(), expected, strict=True))


@pytest.mark.parametrize("factor", [110, -110, 140])
def test_scores_of_a_deep_chain_are_those_of_rational_arithmetic(engine, factor):
    """R is 2^(11 * factor) and more; every step has the exact scores and the exact masks."""
    (model, exact), taken = deep_chain(factor), []
    masks = prune(model, "synflow", Probe((2,)), 6, 5, report=taken.append)
    assert same(masks, pruning.synflow_prune(exact, 6, 5))
    before = pruning.all_kept(exact)
    for step in taken:
        network = pruning.masked(exact, before)
        unscaled = Fraction(4) ** step.scale
        R = saliency.synflow_objective(network)
        assert Fraction(step.R) * unscaled == R and step.scale != 0
        assert isclose(step.unscaled_R / Decimal(R.numerator) * Decimal(R.denominator), 1)
        scores = saliency.synflow_scores(network)
        for S, wanted in zip(step.scores.values(), scores, strict=True):
            assert [Fraction(s) * unscaled for s in S.flatten().tolist()] == [*wanted.ravel()]
        before = tuple(mask.numpy() for mask in step.masks.values())


def test_certified_goes_to_one_weight_in_each_layer(engine):
    model, exact = deep_chain(120)
    N = sum(W.size for W in exact.weights)
    *_, expected = certified(exact, Fraction(N, 11), margin=Fraction(1, 10**9))
    masks = prune(model, "synflow", Probe((2,)), Fraction(N, 11), schedule="certified")
    assert same(masks, expected) and kept(masks) == 11 and connected(model, masks, (2,))


@pytest.mark.parametrize(
    "exponent, dtype", [(600, torch.float64), (-600, torch.float64), (60, torch.float32)]
)
@pytest.mark.parametrize("score", ["synflow", "synflow-l2"])
def test_a_power_of_two_at_both_ends_changes_no_mask(exponent, dtype, score, engine):
    """Its first and its last layer are cuts of a ResNet, so all scores have that factor."""
    if score == "synflow-l2":
        exponent //= 2
    torch.manual_seed(0)
    model, probe = build("resnet20", (3, 32, 32), 10, 1 / 8).double(), Probe((3, 32, 32))
    usual, taken = [], []
    expected = prune(model, score, probe, 20, 5, score_dtype=dtype, report=usual.append)
    for layer in (model.conv1, model.fc):
        layer.weight.data *= 2.0**exponent
    masks = prune(model, score, probe, 20, 5, score_dtype=dtype, report=taken.append)
    assert all(masks[name].equal(expected[name]) for name in expected)
    factor = Decimal(4) ** (exponent * (2 if score == "synflow-l2" else 1))
    for a, b in zip(usual, taken, strict=True):
        assert a.scale == 0 and isclose(a.unscaled_R, a.R) and b.scale * exponent > 0
        assert a.prune_cut_ratio == b.prune_cut_ratio
        assert isclose(b.unscaled_R / a.unscaled_R / factor, 1)


def test_the_scale_is_0_where_R_is_in_range_and_where_no_path_is_open():
    model, _ = deep_chain(0)
    masks = dense_masks(model)
    assert fitted(model, masks, Probe((2,))).scale == 0
    closed = masks | {"3.weight": torch.zeros_like(masks["3.weight"])}
    assert fitted(model, closed, Probe((2,))).scale == 0


def test_flow_enters_and_leaves_alike_at_any_scale():
    """Theorem 2 holds for the scaled numbers."""
    model, _ = deep_chain(110)
    probe = fitted(model, dense_masks(model), Probe((2,)))
    at_input, at_output = flow_at_ends(model, dense_masks(model), probe)
    assert probe.scale > 0 and at_input == at_output
    assert at_output == synaptic_flow(model, dense_masks(model), probe).R
    assert connected(model, dense_masks(model), probe)


def test_the_tape_repeats_a_scaled_pass():
    """A tape that gave another R would be put aside, and each step would run the model."""
    model, _ = deep_chain(110)
    masks = dense_masks(model)
    network, _ = read(model, masks, fitted(model, masks, Probe((2,))))
    assert network.tape is not None and network.tape.scale > 0


def test_what_an_embedding_returns_is_not_scaled():
    """Ids have no scale, so R out of range is refused as before."""
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 2)).double()
    for layer in (model[1], model[2]):
        layer.weight.data.fill_(2.0**600)
    probe = Probe(example=torch.arange(4)[None])
    assert fitted(model, dense_masks(model), probe).scale == 0
    with pytest.raises(FloatingPointError, match="leaves the range"):
        prune(model, "synflow", probe, 2)


def test_an_allocation_by_synflow_is_rescaled_too():
    model, exact = deep_chain(110)
    plain, _ = deep_chain(0)
    found, wanted = (
        prune(net, "magnitude", Probe((2,)), 4, allocation="synflow") for net in (model, plain)
    )
    assert all(found[name].equal(wanted[name]) for name in wanted)
    apply(model, found)
    assert size(found) == sum(W.size for W in exact.weights)


def test_a_score_that_overflows_where_R_does_not_is_refused(engine):
    """The score of the first weight is R = 1e50, but dR/dtheta = 1e350 is infinite."""
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(3))).double()
    for layer, theta in zip(model, (1e-300, 1e200, 1e150), strict=True):
        layer.weight.data.fill_(theta)
    with pytest.raises(FloatingPointError, match=r"^scores of 0\.weight are not finite$"):
        prune(model, "synflow", Probe((1,)), 1.5)
