"""Each claim of the paper as a function that returns its two sides and asserts nothing.

proofs_tests/test_theorems.py says that they agree; test_necessity.py breaks the hypotheses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, pairwise, takewhile
from math import prod
from numbers import Number

import numpy as np
from numpy.typing import NDArray

from reference.mlp import Mlp, backward, forward
from reference.pruning import (
    Masks,
    all_kept,
    flat,
    keep_top,
    kept,
    masked,
    path_open,
    prune_one_by_one,
    prune_steps,
    unflat,
)
from reference.saliency import (
    Scores,
    bias_saliency,
    magnitude,
    synaptic_saliency,
    synflow_objective,
    synflow_scores,
)

Neurons = tuple[NDArray, ...]  # bool, one array per layer of neurons: inputs first, outputs last
Pair = tuple[NDArray, NDArray]


def theorem_1(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> list[Pair]:
    """S_in and S_out of the neurons of each hidden layer (Theorem 1).

    A bias counts as one more incoming parameter: S_in includes its own saliency.
    """
    S = synaptic_saliency(mlp, x, dR_dy)
    S_b = bias_saliency(mlp, x, dR_dy) or [0] * len(S)
    return [(into.sum(1) + b, out.sum(0)) for (into, out), b in zip(pairwise(S), S_b)]


def equations_2_and_3(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> list[Pair]:
    """dR/dphi(z) phi(z) (Eq. 2) and dR/dz z (Eq. 3) of the neurons of each hidden layer."""
    trace = forward(mlp, x)
    dR_dz = backward(mlp, trace, dR_dy).dR_dz
    hidden = zip(mlp.weights[1:], dR_dz[1:], trace.inputs[1:], dR_dz, trace.preactivations)
    return [
        (((delta_above @ W) * phi_z).sum(0), (delta * z).sum(0))
        for W, delta_above, phi_z, delta, z in hidden
    ]


def cut(S: Neurons) -> Masks:
    """C(S), the weights that lead from outside S into S (Eq. 7); S holds outputs, no inputs."""
    return tuple(np.outer(above, ~below) for below, above in pairwise(S))


def closed_downstream(mlp: Mlp, S: Neurons) -> Neurons:
    """Add to S whatever can be reached from it: then no path leaves S, and each enters once."""
    closed = [S[0]]
    for W, neurons in zip(mlp.weights, S[1:]):
        closed.append(neurons | ((W != 0) @ closed[-1]))
    return tuple(closed)


def crossings(mlp: Mlp, C: Masks) -> set[int]:
    """How often do input-output paths cross C? {1}: C separates exactly (Theorem 2, footnote 3)."""
    counts = [{0}] * mlp.weights[0].shape[1]
    for W, crossed in zip(mlp.weights, C):
        counts = [
            {n + int(row[j]) for j in np.flatnonzero(w) for n in counts[j]}
            for w, row in zip(W, crossed)
        ]
    return set().union(*counts)


def theorem_2(
    mlp: Mlp, x: NDArray, dR_dy: NDArray, C: Masks
) -> tuple[Number, tuple[Number, Number]]:
    """The saliency over C, and (<dR/dx, x>, <dR/dy, y>) (Theorem 2, Eq. 8)."""
    trace = forward(mlp, x)
    dR_dx = backward(mlp, trace, dR_dy).dR_dx
    over_C = sum((S * c).sum() for S, c in zip(synaptic_saliency(mlp, x, dR_dy), C))
    return over_C, ((dR_dx * x).sum(), (dR_dy * trace.output).sum())


def theorem_2_with_biases(
    mlp: Mlp, x: NDArray, dR_dy: NDArray, S: Neurons
) -> tuple[Number, Number]:
    """The saliency over C(S) plus that of the biases in S, and <dR/dy, y>.

    A bias is a weight from an input that is always 1, so the biases in S belong to the cut.
    """
    over_C, (_, out) = theorem_2(mlp, x, dR_dy, cut(S))
    biases = zip(bias_saliency(mlp, x, dR_dy), S[1:])
    return over_C + sum((s * inside).sum() for s, inside in biases), out


def average_scores(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> tuple[list[Number], list[Number]]:
    """Each layer's average score, and <dR/dy, y> over its size: inverse proportion (Sec. 4)."""
    S = synaptic_saliency(mlp, x, dR_dy)
    out = (dR_dy * forward(mlp, x).output).sum()
    return [layer.sum() / layer.size for layer in S], [out / layer.size for layer in S]


def equation_4(mlp: Mlp, x: NDArray, dL_dy: NDArray) -> tuple[Scores, Scores]:
    """d/dt theta^2 / 2 along dtheta/dt = -dL/dtheta, and -dL/dtheta * theta (Eq. 4).

    theta^2 is quadratic, so the central difference over the step dt = 2 is the derivative, exactly.
    """
    dL_dW = backward(mlp, forward(mlp, x), dL_dy).dR_dW
    rates = tuple(((W - g) ** 2 - (W + g) ** 2) / 4 for W, g in zip(mlp.weights, dL_dW))
    return rates, tuple(-S for S in synaptic_saliency(mlp, x, dL_dy))


def axiom(mlp: Mlp, masks: Masks) -> tuple[bool, bool]:
    """Do these masks leave a path open, and do any of the same cardinality (the Axiom, Sec. 3)?

    By trying them all: for small networks.
    """
    N = flat(masks).size
    subsets = (np.isin(np.arange(N), chosen) for chosen in combinations(range(N), kept(masks)))
    possible = any(path_open(masked(mlp, unflat(subset, masks))) for subset in subsets)
    return path_open(masked(mlp, masks)), possible


def theorem_3(mlp: Mlp, score=synflow_scores) -> tuple[Fraction, Fraction]:
    """Critical compression of one-by-one pruning, and max compression N / L (Theorem 3)."""
    N = kept(all_kept(mlp))
    open_masks = takewhile(lambda m: path_open(masked(mlp, m)), prune_one_by_one(mlp, score))
    return Fraction(N, min(map(kept, open_masks), default=N)), Fraction(N, len(mlp.weights))


def theorem_4(mlp: Mlp, keeps: Iterable[int]) -> list[tuple[Number, Number, bool]]:
    """Of each step: prune size, cut size, and whether a path is open afterwards (Theorem 4)."""
    steps, before = [], all_kept(mlp)
    for after in prune_steps(mlp, keeps):
        net = masked(mlp, before)
        removed = flat(synflow_scores(net))[flat(before) & ~flat(after)]
        steps.append((removed.sum(), synflow_objective(net), path_open(masked(mlp, after))))
        before = after
    return steps


def scale_invariance(mlp: Mlp, factors: Sequence[Number]) -> tuple[Scores, Scores]:
    """Scores when layer l is multiplied by factor l, and scores times all |factors| (App. 11).

    All scores of a chain grow alike, so their order and the masks stay.
    """
    scaled = replace(mlp, weights=tuple(c * W for c, W in zip(factors, mlp.weights)))
    growth = prod(abs(c) for c in factors)
    return synflow_scores(scaled), tuple(growth * S for S in synflow_scores(mlp))


def imp_without_training(mlp: Mlp, keeps: Sequence[int]) -> tuple[Masks, Masks]:
    """Magnitude pruning in cycles that train for no step, and in a single shot (Sec. 5)."""
    *_, in_cycles = prune_steps(mlp, keeps, magnitude)
    return in_cycles, keep_top(magnitude(mlp), all_kept(mlp), keeps[-1])
