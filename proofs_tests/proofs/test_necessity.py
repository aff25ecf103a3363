"""Each hypothesis is needed: drop it and a search finds a counterexample.

So these tests also show that those of test_theorems.py can fail. The counterexamples, shrunk, are
in reference/README.md.
"""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from random import Random

import numpy as np
from hypothesis import HealthCheck, find, settings
from hypothesis import strategies as st

from proofs_tests.tools.strategies import (
    cases,
    networks,
    networks_with_keeps,
    neuron_sets,
    nonzero_ints,
    positive_ints,
)
from reference import theorems
from reference.extras import Square
from reference.mlp import Mlp, identity
from reference.saliency import magnitude, synaptic_saliency, synflow_objective, synflow_scores


def counterexample(strategy, broken):
    """The simplest example found for which `broken` holds; NoSuchExample if there is none."""
    quiet = settings(max_examples=5000, database=None, suppress_health_check=list(HealthCheck))
    return find(strategy, broken, settings=quiet, random=Random(0))


def neurons_differ(mlp, x, dR_dy):
    """Is S_in of the weights unequal to their S_out at some hidden neuron?"""
    S = synaptic_saliency(mlp, x, dR_dy)
    return any((into.sum(1) != out.sum(0)).any() for into, out in pairwise(S))


def collapses_avoidably(score):
    """Does one-by-one pruning by `score` close all paths with more than one weight a layer left?"""

    def broken(mlp):
        critical, maximal = theorems.theorem_3(mlp, score)
        return critical < maximal

    return broken


def signed_flow(mlp):
    """Synaptic saliency of the sum of the outputs at x = 1: conserved, but of either sign."""
    x = np.ones((1, mlp.weights[0].shape[1]), int)
    dR_dy = np.ones((1, mlp.weights[-1].shape[0]), int)
    return synaptic_saliency(replace(mlp, phi=identity), x, dR_dy)


# Theorem 1


def test_theorem_1_needs_homogeneous_units():
    """phi(z) = z^2 is not phi'(z) z, and neurons do not conserve saliency (Theorem 1)."""

    def broken(case):
        mlp, x, dR_dy = case
        return neurons_differ(replace(mlp, phi=Square()), x, dR_dy)

    counterexample(cases(positive_ints, max_width=2), broken)


def test_theorem_1_needs_zero_biases():
    """A bias adds its own saliency to what leaves the neuron (Theorem 1)."""
    case = cases(positive_ints, max_width=2, biases=True)
    counterexample(case, lambda case: neurons_differ(*case))


# Theorem 2 and its footnote 3


@st.composite
def cuts(draw):
    """A network and C(S) for any S of App. 10."""
    mlp = draw(networks(positive_ints, max_width=2))
    return mlp, theorems.cut(draw(neuron_sets(mlp)))


def flow_over(mlp, C):
    return sum(S[c].sum() for S, c in zip(synflow_scores(mlp), C))


def without_one(C):
    """C less one of its elements, for each of them."""
    for layer, c in enumerate(C):
        for where in zip(*np.nonzero(c)):
            fewer = [d.copy() for d in C]
            fewer[layer][where] = False
            yield tuple(fewer)


def every_element_is_needed(mlp, C):
    """Footnote 3, to the letter: C separates inputs from outputs, but no longer without any one."""
    return 0 not in theorems.crossings(mlp, C) and all(
        0 in theorems.crossings(mlp, fewer) for fewer in without_one(C)
    )


def test_theorem_2_needs_footnote_3():
    """App. 10 lets S be any set of neurons; over C(S) saliency does not always sum to R (Eq. 7)."""
    counterexample(cuts(), lambda case: flow_over(*case) != synflow_objective(case[0]))


def test_theorem_2_needs_more_than_footnote_3():
    """Not even if every element is needed: some path may still cross twice (Theorem 2)."""

    def broken(case):
        return every_element_is_needed(*case) and flow_over(*case) != synflow_objective(case[0])

    mlp, C = counterexample(cuts(), broken)
    assert theorems.crossings(mlp, C) > {1}


# Theorem 3


def test_theorem_3_needs_positive_scores():
    """Conserved, iterative scores of either sign close all paths too early (Theorem 3)."""
    counterexample(networks(nonzero_ints, max_width=2), collapses_avoidably(signed_flow))


def test_theorem_3_needs_conserved_scores():
    """Magnitudes are positive and may be iterated; the layer of small ones empties (Theorem 3)."""
    counterexample(networks(positive_ints), collapses_avoidably(magnitude))


def test_theorem_3_needs_iteration():
    """Synaptic Flow evaluated once empties a layer (Theorem 3)."""

    def broken(mlp):
        scores = synflow_scores(mlp)  # of the dense network, once and for all
        return collapses_avoidably(lambda _: scores)(mlp)

    counterexample(networks(positive_ints), broken)


def test_theorem_3_needs_conservation_at_neurons_to_keep_a_path():
    """Positive, layer-wise conserved scores fill all layers, maybe with no path (Theorem 3).

    The proof in App. 10 speaks of empty layers only. Synaptic Flow keeps a path because a weight
    on no open path scores 0.
    """

    def layer_share(mlp):
        return tuple(np.abs(W) * Fraction(1, max(1, int(np.abs(W).sum()))) for W in mlp.weights)

    counterexample(networks(positive_ints), collapses_avoidably(layer_share))


# Theorem 4


def test_theorem_4_needs_prune_size_strictly_below_cut_size():
    """A step that removes as much score as one cut carries may close every path (Theorem 4)."""

    def broken(case):
        mlp, keeps = case
        sizes = theorems.theorem_4(mlp, keeps)
        avoidable = keeps[-1] >= len(mlp.weights)
        return avoidable and not sizes[-1][2] and all(p <= c for p, c, _ in sizes)

    counterexample(networks_with_keeps(positive_ints, max_width=2, max_depth=2), broken)


# App. 11


@st.composite
def residual_nets(draw):
    """A block with a shortcut, y = w[2] phi(w[1] x) + s x, whose layers w[1], w[2], s are no cuts.

    Written as a chain in which the shortcut has a unit of its own, that leads on by a fixed 1.
    """
    width = draw(st.integers(1, 2))
    w1, w2, s = (draw(positive_ints.arrays(shape)) for shape in [(width, 1), (1, width), (1, 1)])
    return Mlp((np.vstack([w1, s]), np.hstack([w2, [[1]]])))


def test_scale_invariance_needs_a_chain():
    """Scaling one layer of a residual block changes the order of the scores (App. 11)."""

    def scores(mlp):
        below, above = synflow_scores(mlp)
        return np.append(below, above[:, :-1])

    def broken(mlp):
        below, above = mlp.weights
        factor = np.ones_like(below)
        factor[:-1] = 3  # the branch's first layer, not the shortcut
        before, after = scores(mlp), scores(Mlp((below * factor, above)))
        overtaken = np.less.outer(before, before) & np.greater.outer(after, after)
        return overtaken.any()

    counterexample(residual_nets(), broken)
