"""NumPy and torch give the same numbers on the same networks, on every device that is here.

With integer weights all arithmetic but the softmax is exact and they must be equal; else they
agree to 1e-10, since sums are taken in another order.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from proofs_tests.tools.strategies import (
    Numbers,
    cases,
    networks,
    nonzero_ints,
    small_fractions,
    small_ints,
)
from prune import SCORES, Probe, connected, prune
from prune.masks import dense_masks
from reference import extras, pruning, saliency
from reference.corollaries import certified
from reference.mlp import LeakyRelu, backward, forward

on_every_device = pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
)
hundredths = Numbers(st.integers(-100, 100).map(lambda n: n / 100), np.float64)
DATA_SCORES = {
    "snip": saliency.snip,
    "skeletonization": saliency.skeletonization,
    "taylor-fo": saliency.taylor_fo,
    "grasp": extras.grasp,
    "grasp-text": extras.grasp_text,
}


def tensor(array, device):
    """An array of whatever exact numbers in float64."""
    return torch.tensor(np.asarray(array, dtype=np.float64), device=device)


def as_torch(mlp, device):
    """The same network, in float64."""
    layers = []
    for i, W in enumerate(mlp.weights):
        layers.append(nn.Linear(*W.shape[::-1], bias=bool(mlp.biases), dtype=torch.float64))
        layers[-1].weight.data = tensor(W, device)
        if mlp.biases:
            layers[-1].bias.data = tensor(mlp.biases[i], device)
        layers.append(nn.LeakyReLU(float(mlp.phi.slope)))
    return nn.Sequential(*layers[:-1]).to(device)


def probe_of(mlp, device, batches=()):
    data = tuple((tensor(x, device), torch.tensor(labels, device=device)) for x, labels in batches)
    return Probe(mlp.weights[0].shape[1:], data, torch.Generator().manual_seed(0))


def assert_equal(tensors, arrays):
    assert [t.tolist() for t in tensors] == [a.astype(np.float64).tolist() for a in arrays]


def assert_close(tensors, arrays):
    """To 1e-10 of the largest number there is, since a sum may cancel."""
    arrays = [np.asarray(a, dtype=np.float64) for a in arrays]
    scale = max([1e-6, *(np.abs(a).max() for a in arrays)])
    for t, a in zip(tensors, arrays, strict=True):
        np.testing.assert_allclose(t.detach().cpu().numpy(), a, rtol=1e-10, atol=1e-10 * scale)


# Outputs and gradients


def sides_are_clear(mlp, x):
    """Is each hidden z far from 0, or 0 as nothing enters it? Else rounding decides on phi'(z)."""
    trace, biases = forward(mlp, x), mlp.biases or [0] * len(mlp.weights)
    sizes = [abs(a) @ abs(W).T + abs(b) for a, W, b in zip(trace.inputs, mlp.weights, biases)]
    hidden = zip(trace.preactivations[:-1], sizes[:-1])
    return all(((abs(z) > 1e-9 * size) | (size == 0)).all() for z, size in hidden)


def outputs_and_gradients(case, device):
    """(torch, NumPy): the output, then the gradients of <dR/dy, y> in input, weights, biases."""
    mlp, x, dR_dy = case
    trace = forward(mlp, x)
    numpy = backward(mlp, trace, dR_dy)
    model, x = as_torch(mlp, device), tensor(x, device).requires_grad_()
    y = model(x)
    (y * tensor(dR_dy, device)).sum().backward()
    weights = [layer.weight.grad for layer in model[::2]]
    biases = [layer.bias.grad for layer in model[::2]] if mlp.biases else []
    expected = [trace.output, numpy.dR_dx, *numpy.dR_dW, *(numpy.dR_db if mlp.biases else ())]
    return [y, x.grad, *weights, *biases], expected


@on_every_device
@given(case=cases(small_ints) | cases(small_ints, biases=True))
def test_outputs_and_gradients_are_equal(device, case):
    """Integers often give z = 0, so phi'(0) must be what it is in torch."""
    assert_equal(*outputs_and_gradients(case, device))


@on_every_device
@given(case=cases(small_fractions, biases=True) | cases(hundredths, biases=True))
def test_outputs_and_gradients_agree(device, case):
    mlp, x, _ = case
    assume(sides_are_clear(mlp, x))
    assert_close(*outputs_and_gradients(case, device))


# Scores


@st.composite
def networks_with_batches(draw, numbers=hundredths):
    """An Mlp and batches of inputs with labels."""
    mlp = draw(networks(numbers, biases=draw(st.booleans()), max_depth=3))
    mlp = replace(mlp, phi=LeakyRelu(float(mlp.phi.slope)))  # a Fraction has no exponential
    inputs, classes = mlp.weights[0].shape[1], mlp.weights[-1].shape[0]
    batches = []
    for size in draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)):
        labels = draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))
        batches.append((draw(numbers.arrays((size, inputs))), np.array(labels)))
    return mlp, batches


@on_every_device
@given(mlp=networks(small_ints) | networks(small_ints, biases=True))
def test_scores_without_data_are_equal(device, mlp):
    """magnitude, and synflow: here the gradient of Eq. 5, there the closed form of Eq. 6."""
    model, probe = as_torch(mlp, device), probe_of(mlp, device)
    masks = dense_masks(model)
    assume(pruning.path_open(mlp))  # else synflow is refused, which is tested elsewhere
    assert_equal(SCORES["magnitude"](model, masks, probe).values(), saliency.magnitude(mlp))
    assert_equal(SCORES["synflow"](model, masks, probe).values(), saliency.synflow_scores(mlp))


@on_every_device
@given(mlp=networks(hundredths))
def test_scores_without_data_agree(device, mlp):
    model, probe = as_torch(mlp, device), probe_of(mlp, device)
    masks = dense_masks(model)
    assume(pruning.path_open(mlp))
    assert_close(SCORES["magnitude"](model, masks, probe).values(), saliency.magnitude(mlp))
    assert_close(SCORES["synflow"](model, masks, probe).values(), saliency.synflow_scores(mlp))


@on_every_device
@given(case=networks_with_batches(), name=st.sampled_from(sorted(DATA_SCORES)))
def test_scores_of_data_agree(device, case, name):
    """All five, by hand-written and by automatic gradients."""
    mlp, batches = case
    assume(all(sides_are_clear(mlp, x) for x, _ in batches))
    model, probe = as_torch(mlp, device), probe_of(mlp, device, batches)
    scores = SCORES[name](model, dense_masks(model), probe)
    assert_close(scores.values(), DATA_SCORES[name](mlp, batches))


@on_every_device
@given(mlp=networks())
def test_random_scores_are_those_of_the_cpu(device, mlp):
    """One seed, one draw, on every device."""
    scores = SCORES["random"](
        model := as_torch(mlp, device), dense_masks(model), probe_of(mlp, device)
    )
    generator = torch.Generator().manual_seed(0)
    for S, W in zip(scores.values(), mlp.weights, strict=True):
        assert S.device.type == device
        drawn = torch.randn(W.shape, generator=generator, dtype=torch.float64)
        assert torch.equal(S.cpu(), drawn)


# Masks


@st.composite
def plans(draw, numbers=nonzero_ints):
    """(mlp, compression, steps): weights that are not 0 leave no doubt about what is connected."""
    mlp = draw(networks(numbers, max_width=6))
    N = sum(W.size for W in mlp.weights)
    compression = draw(st.integers(1, N) | st.floats(1, N))
    return mlp, compression, draw(st.integers(1, 6))


def rows(masks):
    return [mask.tolist() for mask in masks]


@on_every_device
@given(plan=plans(), schedule=st.sampled_from(["exponential", "linear"]))
def test_masks_of_algorithm_1_are_equal(device, plan, schedule):
    """Weight for weight after every schedule, and as connected (Algorithm 1)."""
    mlp, compression, steps = plan
    model, probe = as_torch(mlp, device), probe_of(mlp, device)
    masks = prune(model, "synflow", probe, compression, steps, schedule)
    expected = pruning.synflow_prune(mlp, compression, steps, getattr(pruning, schedule))
    assert rows(masks.values()) == rows(expected)
    is_open = pruning.path_open(pruning.masked(mlp, expected))
    assert connected(model, masks, probe.input_shape) == is_open


@on_every_device
@given(plan=plans())
def test_R_and_the_counts_of_each_step_are_equal(device, plan):
    """R (Eq. 5) before each step of Algorithm 1, and how much the step removes (Theorem 4)."""
    mlp, compression, steps = plan
    taken = []
    probe = probe_of(mlp, device)
    prune(as_torch(mlp, device), "synflow", probe, compression, steps, report=taken.append)
    before = pruning.all_kept(mlp)
    keeps = [step.kept for step in taken]
    for step, after in zip(taken, pruning.prune_steps(mlp, keeps), strict=True):
        net = pruning.masked(mlp, before)
        assert step.R == saliency.synflow_objective(net)
        assert_equal(step.scores.values(), saliency.synflow_scores(net))
        S = pruning.flat(saliency.synflow_scores(net))
        removed = S[pruning.flat(before) & ~pruning.flat(after)].sum()
        assert step.prune_cut_ratio == (removed / step.R if step.R else 0)
        before = after


@on_every_device
@given(mlp=networks(nonzero_ints, max_width=6))
def test_masks_of_certified_are_equal(device, mlp):
    """At every step, down to one weight a layer (Theorem 4)."""
    compression = Fraction(sum(W.size for W in mlp.weights), len(mlp.weights))
    taken = []
    model, probe = as_torch(mlp, device), probe_of(mlp, device)
    masks = prune(model, "synflow", probe, compression, schedule="certified", report=taken.append)
    steps = list(certified(mlp, compression, margin=1e-9))
    assert [step.kept for step in taken] == [pruning.kept(m) for m in steps]
    if steps:
        assert rows(masks.values()) == rows(steps[-1])


@on_every_device
@given(plan=plans())
def test_masks_of_magnitude_are_equal(device, plan):
    """Small integers: nearly all scores are ties, and the earlier survives."""
    mlp, compression, steps = plan
    taken = []
    probe = probe_of(mlp, device)
    masks = prune(
        as_torch(mlp, device), "magnitude", probe, compression, steps, report=taken.append
    )
    *_, expected = pruning.prune_steps(mlp, [step.kept for step in taken], saliency.magnitude)
    assert rows(masks.values()) == rows(expected)


@on_every_device
@given(
    case=networks_with_batches(),
    name=st.sampled_from(sorted(DATA_SCORES)),
    density=st.floats(0.1, 1),
)
def test_masks_of_data_scores_agree(device, case, name, density):
    """Identical except among scores within 1e-9 of the threshold, where rounding decides."""
    mlp, batches = case
    model, probe = as_torch(mlp, device), probe_of(mlp, device, batches)
    N = sum(W.size for W in mlp.weights)
    assume(any(S.any() for S in SCORES[name](model, dense_masks(model), probe).values()))
    masks = prune(model, name, probe, N / max(1, int(density * N)))
    kept = np.concatenate([mask.flatten().cpu().numpy() for mask in masks.values()])
    S = pruning.flat(DATA_SCORES[name](mlp, batches))
    threshold, near = np.sort(S)[N - kept.sum()], 1e-9 * np.abs(S).max()
    assert kept[S > threshold + near].all()
    assert not kept[S < threshold - near].any()
