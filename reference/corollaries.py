"""What the paper says in passing, what biases add, and what follows from Theorem 4.

Not needed to understand SynFlow. As in theorems.py, functions return both sides of a claim.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, prod
from numbers import Number

import numpy as np
from numpy.typing import NDArray

from reference.mlp import Mlp, backward, forward
from reference.pruning import Masks, all_kept, flat, keep_top, kept, masked, prune_steps
from reference.saliency import (
    Scores,
    magnitude,
    synaptic_saliency,
    synflow_objective,
    synflow_scores,
)
from reference.theorems import Neurons, Pair, cut, theorem_2


def bias_saliency(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> Scores:
    """dR/db * b (Eq. 1), one (n_out,) per layer; empty if the network has no biases."""
    dR_db = backward(mlp, forward(mlp, x), dR_dy).dR_db
    return tuple(g * b for g, b in zip(dR_db, mlp.biases))


def theorem_1_with_biases(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> list[Pair]:
    """S_in plus the saliency of the neuron's own bias, and S_out (Theorem 1).

    A bias is a weight from an input that is always 1: one more incoming parameter.
    """
    S = synaptic_saliency(mlp, x, dR_dy)
    S_b = bias_saliency(mlp, x, dR_dy)
    return [(into.sum(axis=1) + b, out.sum(axis=0)) for (into, out), b in zip(pairwise(S), S_b)]


def theorem_2_with_biases(
    mlp: Mlp, x: NDArray, dR_dy: NDArray, S: Neurons
) -> tuple[Number, Number]:
    """The saliency over C(S) plus that of the biases in S, and <dR/dy, y> (Theorem 2).

    The weights from the input that is always 1 to neurons in S belong to the cut. So the sum
    over a cut grows towards the input: what is conserved is flow plus what biases feed in.
    """
    over_C, (_, out) = theorem_2(mlp, x, dR_dy, cut(S))
    biases = zip(bias_saliency(mlp, x, dR_dy), S[1:])
    return over_C + sum((s * inside).sum() for s, inside in biases), out


def average_scores(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> tuple[list[Number], list[Number]]:
    """Each layer's average score, and <dR/dy, y> over its size: inverse proportion (Sec. 4)."""
    S = synaptic_saliency(mlp, x, dR_dy)
    out = (dR_dy * forward(mlp, x).output).sum()
    return [layer.sum() / layer.size for layer in S], [out / layer.size for layer in S]


def imp_without_training(mlp: Mlp, keeps: Sequence[int]) -> tuple[Masks, Masks]:
    """Magnitude pruning in cycles that train for no step, and in a single shot (Sec. 5)."""
    *_, in_cycles = prune_steps(mlp, keeps, magnitude)
    return in_cycles, keep_top(magnitude(mlp), all_kept(mlp), keeps[-1])


def scale_invariance(mlp: Mlp, factors: Sequence[Number]) -> tuple[Scores, Scores]:
    """Scores when layer l is multiplied by factor l, and scores times all |factors| (App. 11).

    All scores of a chain grow alike, so their order and the masks stay.
    """
    scaled = replace(mlp, weights=tuple(c * W for c, W in zip(factors, mlp.weights)))
    growth = prod(abs(c) for c in factors)
    return synflow_scores(scaled), tuple(growth * S for S in synflow_scores(mlp))


def certified(mlp: Mlp, compression: Number, margin: Number = 0) -> Iterator[Masks]:
    """Remove at each step the most weights that Theorem 4 allows, until ceil(N / rho) are left.

    That is, as long as their total score stays strictly below (1 - margin) R. Exact arithmetic
    needs no margin; float64 needs one, lest rounding close the last path.

    Raises:
        ValueError: If nothing more can go; in an open network, when each layer has one weight.
    """
    masks = all_kept(mlp)
    goal = ceil(kept(masks) / Fraction(compression))
    while (left := kept(masks)) > goal:
        net = masked(mlp, masks)
        scores, R = synflow_scores(net), synflow_objective(net)
        prune_sizes = np.cumsum(np.sort(flat(scores)[flat(masks)]))  # (left,)
        removed = min(int((prune_sizes < (1 - margin) * R).sum()), left - goal)
        if removed == 0:
            raise ValueError(
                f"certified stops at {left} weights, short of {goal}: one less and R=0"
            )
        masks = keep_top(scores, masks, left - removed)
        yield masks
