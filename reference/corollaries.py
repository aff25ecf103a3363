"""Biases, remarks of the paper without a number, and what else follows: a schedule, a bound.

Not needed to understand SynFlow. As in theorems.py, functions return both sides of a claim.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from reference.mlp import Mlp, Real, backward, forward
from reference.pruning import Masks, all_kept, flat, keep_top, kept, masked, prune_steps
from reference.saliency import Scores, magnitude, synflow_objective, synflow_scores
from reference.theorems import Neurons, Pair, cut, theorem_1, theorem_2


def bias_saliency(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> Scores:
    """Return dR/db * b (Eq. 1), one (n_out,) per layer; zeros if the network has no biases."""
    dR_db = backward(mlp, forward(mlp, x), dR_dy).dR_db
    biases = mlp.biases or (0,) * len(dR_db)
    return tuple(g * b for g, b in zip(dR_db, biases, strict=True))


def theorem_1_with_biases(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> list[Pair]:
    """Return S_in plus the saliency of the neuron's own bias, and S_out (Theorem 1).

    A bias is a weight from an input that is always 1, so it counts as an incoming parameter.
    """
    pairs = theorem_1(mlp, x, dR_dy)
    hidden = bias_saliency(mlp, x, dR_dy)[:-1]
    return [(S_in + b, S_out) for (S_in, S_out), b in zip(pairs, hidden, strict=True)]


def theorem_2_with_biases(mlp: Mlp, x: NDArray, dR_dy: NDArray, S: Neurons) -> tuple[Real, Real]:
    """Return the saliency over C(S) plus that of the biases in S, and <dR/dy, y> (Theorem 2).

    A bias is a weight from an input that is always 1, so the biases of neurons in S belong to
    the cut. The weights of a cut alone do not have a conserved total.
    """
    weights = theorem_2(mlp, x, dR_dy, cut(S))
    biases = zip(bias_saliency(mlp, x, dR_dy), S[1:], strict=True)
    over_biases = sum((s * inside).sum() for s, inside in biases)
    return weights.over_C + over_biases, weights.at_outputs


def imp_without_training(mlp: Mlp, keeps: Sequence[int]) -> tuple[Masks, Masks]:
    """Prune by magnitude in cycles without training, and in a single shot (Sec. 5)."""
    *_, in_cycles = prune_steps(mlp, keeps, magnitude)
    return in_cycles, keep_top(magnitude(mlp), all_kept(mlp), keeps[-1])


def scale_invariance(mlp: Mlp, factors: Sequence[Real]) -> tuple[Scores, Scores]:
    """Return the scores after multiplying layer l by factor l, and the predicted ones (App. 11).

    All scores of a chain are multiplied by the product of all |factors|. So their order stays,
    and the masks stay.
    """
    weights = tuple(c * W for c, W in zip(factors, mlp.weights, strict=True))
    scaled = replace(mlp, weights=weights)
    growth = abs(prod(factors))
    return synflow_scores(scaled), tuple(growth * S for S in synflow_scores(mlp))


def certified(mlp: Mlp, compression: Real, margin: Real = 0) -> Iterator[Masks]:
    """Remove at each step the most weights that Theorem 4 allows, until ceil(N / rho) are left.

    The total score of the removed weights stays strictly below (1 - margin) R.

    Args:
        mlp: The dense network.
        compression: The ratio rho >= 1 to reach.
        margin: 0 in exact arithmetic; in float64 positive, so that rounding closes no path.

    Yields:
        The masks after each step.

    Raises:
        ValueError: If no further weight may be removed; in an open network this happens when
            one weight per layer is left.
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


def path_strengths(mlp: Mlp, x: NDArray) -> NDArray:
    """Return P|x| (batch, n_out): over all paths to an output, the sum of |x| times each |theta|.

    P = |W[L]| ... |W[1]|. A bias is a weight from an input that is always 1, so |b| joins the flow.
    """
    flow, biases = np.abs(x), mlp.biases or [np.zeros(len(W), W.dtype) for W in mlp.weights]
    for W, b in zip(mlp.weights, biases, strict=True):
        flow = flow @ np.abs(W).T + np.abs(b)
    return flow


def change_of_function(mlp: Mlp, masks: Masks, x: NDArray) -> Pair:
    """Return |f(x) - f_pruned(x)| and its bound P|x| - P'|x|, each (batch, n_out).

    It holds for units with |phi(a) - phi(b)| <= |a - b| and phi(0) = 0. By induction: let a and a'
    be what a layer gets in the two networks, with |a| <= p and |a - a'| <= p - p'. Then
    |W a - W' a'| <= |W - W'| |a| + |W'| |a - a'| <= (|W| - |W'|) p + |W'| (p - p'),
    which is |W| p - |W'| p'.
    """
    pruned = masked(mlp, masks)
    change = np.abs(forward(mlp, x).output - forward(pruned, x).output)
    return change, path_strengths(mlp, x) - path_strengths(pruned, x)


def loss_of_flow(mlp: Mlp, masks: Masks) -> tuple[Real, Real]:
    """Return R - R' and its bound, the prune size: all scores that the masks remove at once.

    Without biases all outputs together move by at most max|x| (R - R'). A path with two removed
    weights is lost once and is part of two scores.
    """
    lost = synflow_objective(mlp) - synflow_objective(masked(mlp, masks))
    return lost, flat(synflow_scores(mlp))[~flat(masks)].sum()


def path_magnitude(mlp: Mlp) -> Scores:
    """Return for each weight the sum of |product of theta| over all paths through it, one by one.

    Gonon et al. prune by this score once (arXiv 2405.15006): it is one-shot SynFlow (Eq. 6).
    """
    scores = tuple(np.zeros_like(W) for W in mlp.weights)
    widths = [mlp.weights[0].shape[1], *(len(W) for W in mlp.weights)]
    for path in product(*map(range, widths)):
        steps = list(zip(path[1:], path[:-1], strict=True))
        strength = abs(prod(W[step] for W, step in zip(mlp.weights, steps, strict=True)))
        for S, step in zip(scores, steps, strict=True):
            S[step] += strength
    return scores
