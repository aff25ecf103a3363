"""Synaptic Flow of an architecture: the mean over independent weights, exactly."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proofs_tests.tools.strategies import networks, positive_ints, small_fractions
from reference import architecture
from reference.mlp import Mlp
from reference.pruning import all_kept
from reference.saliency import synflow_objective

chances = st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(1, 3), Fraction(1)])


@st.composite
def two_networks(draw, numbers=small_fractions, max_size=7):
    """Two networks of one architecture, of few weights."""
    a = draw(networks(numbers, max_width=2, max_size=max_size, max_depth=3))
    return a, Mlp(tuple(draw(numbers.arrays(W.shape)) for W in a.weights), a.phi)


@given(networks(), st.data())
def test_the_scores_of_a_set_sum_to_R_times_the_mean_number_of_its_weights_on_a_path(mlp, data):
    C = tuple(data.draw(arrays(bool, W.shape)) for W in mlp.weights)
    over_C, along_paths = architecture.weights_on_paths(mlp, C)
    assert over_C == along_paths


@given(networks())
def test_all_scores_of_a_chain_of_L_layers_sum_to_L_times_R(mlp):
    total, _ = architecture.weights_on_paths(mlp, all_kept(mlp))
    assert total == len(mlp.weights) * synflow_objective(mlp)


@given(two_networks(), chances)
def test_the_mean_of_R_is_R_of_the_mean_magnitudes(pair, p):
    enumerated, closed = architecture.expected_flow(*pair, p)
    assert enumerated == closed


@given(two_networks(max_size=5), chances)
def test_the_mean_of_each_score_is_its_score_at_the_mean_magnitudes(pair, p):
    enumerated, closed = architecture.expected_scores(*pair, p)
    assert all(np.all(mean == score) for mean, score in zip(enumerated, closed, strict=True))


@given(two_networks(), chances)
def test_the_mean_of_R_squared_is_made_of_the_moments(pair, p):
    enumerated, closed = architecture.expected_square(*pair, p)
    assert enumerated == closed


@given(two_networks(positive_ints), chances)
def test_single_weights_make_a_part_of_the_variance(pair, p):
    """All of it where one layer is drawn and the others are given."""
    means, squares = (architecture.moment(*pair, p, power).weights for power in (1, 2))
    variance, single = architecture.first_order(means, squares)
    assert 0 <= single <= variance
    known = [*squares[:1], *(W * W for W in means[1:])]
    variance, single = architecture.first_order(means, tuple(known))
    assert single == variance


def test_a_weight_that_two_layers_share_breaks_the_law():
    """E w^2 is not (E w)^2: R of the means is too small."""
    low, high = (Mlp((np.array([[w]]), np.array([[w]]))) for w in (1, 3))
    mean = (synflow_objective(low) + synflow_objective(high)) / 2
    assert (mean, synflow_objective(architecture.moment(low, high, Fraction(1, 2)))) == (5, 4)
