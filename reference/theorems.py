"""Theorems 1 to 4 and Eq. 4: each a function that returns its two sides and asserts nothing.

proofs_tests/proofs/test_theorems.py says that they agree; test_necessity.py breaks the hypotheses.
"""

from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations, pairwise, product
from numbers import Number

import numpy as np
from numpy.typing import NDArray

from reference import pruning
from reference.mlp import Mlp, backward, forward
from reference.pruning import Masks, all_kept, flat, kept, masked, path_open, unflat
from reference.saliency import Scores, synaptic_saliency, synflow_objective, synflow_scores

Neurons = tuple[NDArray, ...]  # bool, one array per layer of neurons: inputs first, outputs last
Pair = tuple[NDArray, NDArray]


def theorem_1(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> list[Pair]:
    """S_in and S_out of the neurons of each hidden layer (Theorem 1)."""
    S = synaptic_saliency(mlp, x, dR_dy)
    return [(into.sum(axis=1), out.sum(axis=0)) for into, out in pairwise(S)]


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
    critical = pruning.critical_compression(mlp, pruning.prune_one_by_one(mlp, score))
    return critical, Fraction(kept(all_kept(mlp)), len(mlp.weights))


def equations_9_and_10(scores: Scores) -> list[tuple[Number, Number]]:
    """The score of a layer's last weight, and the highest of each layer that has more.

    Global masking would empty the first only if S[l] <= S_i[k] for all i (Eq. 9). But both layers
    have one total, so S[l] > S_i[k] (Eq. 10): why Theorem 3 holds.
    """
    last = [S.sum() for S in scores if np.count_nonzero(S) == 1]
    highest = [S.max() for S in scores if np.count_nonzero(S) > 1]
    return list(product(last, highest))


def theorem_4(mlp: Mlp, keeps: Iterable[int]) -> list[tuple[Number, Number, bool]]:
    """Of each step: prune size, cut size, and whether a path is open afterwards (Theorem 4)."""
    steps, before = [], all_kept(mlp)
    for after in pruning.prune_steps(mlp, keeps):
        net = masked(mlp, before)
        removed = flat(synflow_scores(net))[flat(before) & ~flat(after)]
        steps.append((removed.sum(), synflow_objective(net), path_open(masked(mlp, after))))
        before = after
    return steps
