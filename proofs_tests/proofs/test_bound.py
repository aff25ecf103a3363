"""A bound on the change of the function by pruning, exact: integers and fractions, no rounding."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proofs_tests.tools.strategies import cases, networks, small_fractions, small_ints
from reference.corollaries import (
    change_of_function,
    loss_of_flow,
    path_magnitude,
    path_strengths,
)
from reference.mlp import LeakyRelu, Mlp, forward, relu
from reference.pruning import all_kept, flat, masked
from reference.saliency import synflow_objective, synflow_scores


@dataclass(frozen=True)
class Clip:
    """phi(z) = z between -1 and 1, else the nearer of the two: 1-Lipschitz, not homogeneous."""

    def __call__(self, z):
        return np.minimum(np.maximum(z, -1), 1)


steady = st.sampled_from([relu, LeakyRelu(1), LeakyRelu(-1), Clip()])  # of Lipschitz constant 1
both = networks() | networks(small_fractions)


@st.composite
def pruned_cases(draw, **kwargs):
    """(mlp, masks, x): a network with steady units, any masks, a batch."""
    mlp, x, _ = draw(cases(**kwargs))
    masks = tuple(draw(arrays(bool, W.shape)) for W in mlp.weights)
    return replace(mlp, phi=draw(steady)), masks, x


@given(pruned_cases() | pruned_cases(biases=True))
def test_no_output_moves_by_more_than_the_flow_that_it_loses(case):
    """|f(x) - f_pruned(x)| <= P|x| - P'|x|, for each example and output, with biases too."""
    change, bound = change_of_function(*case)
    assert (change <= bound).all()


@given(pruned_cases() | pruned_cases(biases=True))
def test_no_output_is_larger_than_its_flow(case):
    """|f(x)| <= P|x|: the bound for masks that keep no weight, where there is no bias."""
    mlp, _, x = case
    assert (abs(forward(mlp, x).output) <= path_strengths(mlp, x)).all()


@given(pruned_cases())
def test_all_outputs_move_by_at_most_the_loss_of_R(case):
    """The sum over outputs is at most max|x| (R - R'), and that at most max|x| (prune size)."""
    mlp, masks, x = case
    change, bound = change_of_function(*case)
    lost, prune_size = loss_of_flow(mlp, masks)
    assert (change.sum(axis=1) <= bound.sum(axis=1)).all()
    assert (bound.sum(axis=1) <= abs(x).max(axis=1) * lost).all()
    assert 0 <= lost <= prune_size


@given(both)
def test_R_is_the_strength_of_all_paths_from_ones(mlp):
    ones = np.ones((1, mlp.weights[0].shape[1]), dtype=int)
    assert path_strengths(mlp, ones).sum() == synflow_objective(mlp)


@given(pruned_cases())
def test_the_bound_is_reached_by_positive_weights_and_inputs(case):
    """There the network is its own flow: no smaller bound holds for these magnitudes."""
    mlp, masks, x = case
    positive = Mlp(tuple(abs(W) for W in mlp.weights), relu)
    change, bound = change_of_function(positive, masks, abs(x))
    assert (change == bound).all()


@given(both, st.data())
def test_one_removed_weight_loses_its_score(mlp, data):
    """R - R' is the prune size exactly, if no path has two of the removed weights."""
    layer = data.draw(st.integers(0, len(mlp.weights) - 1))
    removed = data.draw(arrays(bool, mlp.weights[layer].shape))
    masks = (*all_kept(mlp)[:layer], ~removed, *all_kept(mlp)[layer + 1 :])
    lost, prune_size = loss_of_flow(mlp, masks)
    assert lost == prune_size == synflow_scores(mlp)[layer][removed].sum()


@given(networks(small_ints, max_width=3) | networks(small_fractions, max_width=3))
def test_path_magnitude_is_one_shot_synaptic_flow(mlp):
    """The score of Gonon et al. (arXiv 2405.15006), path by path, is that of Eq. 6."""
    for ours, theirs in zip(synflow_scores(mlp), path_magnitude(mlp), strict=True):
        assert (ours == theirs).all()


def moved(phi, x):
    """The change and the bound in a chain 1-1-1 of ones that loses its last weight."""
    one = np.array([[1]])
    mlp = Mlp((one, one), phi)
    masks = (one == 1, one == 0)
    assert flat(masked(mlp, masks).weights).tolist() == [1, 0]
    change, bound = change_of_function(mlp, masks, np.array([[x]]))
    return change.item(), bound.item()


def test_steep_units_and_units_that_are_not_0_at_0_have_no_such_bound():
    assert moved(LeakyRelu(3), -1) == (3, 1)
    assert moved(lambda z: z + 1, 0) == (1, 0)
    assert moved(relu, 1) == (1, 1)
