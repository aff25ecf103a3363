"""Theorems 1 to 4 and Eq. 4: each a function that returns both sides and asserts nothing.

proofs_tests/proofs/test_theorems.py asserts the laws; test_necessity.py drops their hypotheses.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, pairwise, product

import numpy as np
from numpy.typing import NDArray

from reference import pruning
from reference.mlp import Mlp, Real, backward, forward
from reference.pruning import Masks, Score, all_kept, flat, kept, masked, path_open, unflat
from reference.saliency import Scores, synaptic_saliency, synflow_objective, synflow_scores
from reference.sides import Axiom, Compression, Conservation, Step

Neurons = tuple[NDArray, ...]  # bool, one array per layer of neurons: inputs first, outputs last
Pair = tuple[NDArray, NDArray]
TINY = Fraction(1, 10**18)  # a step so short that no unit changes side


def theorem_1(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> list[Pair]:
    """Return S_in and S_out of the neurons of each hidden layer (Theorem 1)."""
    S = synaptic_saliency(mlp, x, dR_dy)
    return [(into.sum(axis=1), out.sum(axis=0)) for into, out in pairwise(S)]


def equations_2_and_3(mlp: Mlp, x: NDArray, dR_dy: NDArray) -> list[Pair]:
    """Return dR/dphi(z) phi(z) (Eq. 2) and dR/dz z (Eq. 3) of each hidden layer's neurons."""
    trace = forward(mlp, x)
    dR_dz = backward(mlp, trace, dR_dy).dR_dz
    pairs = []
    for layer, W in enumerate(mlp.weights[1:]):
        dR_dphi = dR_dz[layer + 1] @ W  # (batch, neurons)
        phi_z, z = trace.inputs[layer + 1], trace.preactivations[layer]
        pairs.append(((dR_dphi * phi_z).sum(axis=0), (dR_dz[layer] * z).sum(axis=0)))
    return pairs


def cut(S: Neurons) -> Masks:
    """Return C(S), the weights from outside S into S (Eq. 7); S holds outputs, no inputs."""
    return tuple(np.outer(above, ~below) for below, above in pairwise(S))


def closed_downstream(mlp: Mlp, S: Neurons) -> Neurons:
    """Add to S every neuron that a path from S reaches; then each path enters S exactly once."""
    closed = [S[0]]
    for W, neurons in zip(mlp.weights, S[1:], strict=True):
        closed.append(neurons | ((W != 0) @ closed[-1]))
    return tuple(closed)


def crossings(mlp: Mlp, C: Masks) -> set[int]:
    """Return how often paths cross C; {1}: C separates exactly (Theorem 2, footnote 3)."""
    counts: list[set[int]] = [{0}] * mlp.weights[0].shape[1]
    for W, crossed in zip(mlp.weights, C, strict=True):
        counts = [
            {n + int(row[j]) for j in np.flatnonzero(w) for n in counts[j]}
            for w, row in zip(W, crossed, strict=True)
        ]
    return set().union(*counts)


def theorem_2(mlp: Mlp, x: NDArray, dR_dy: NDArray, C: Masks) -> Conservation:
    """Return the saliency over C, <dR/dx, x> and <dR/dy, y> (Theorem 2, Eq. 8)."""
    trace = forward(mlp, x)
    dR_dx = backward(mlp, trace, dR_dy).dR_dx
    S = synaptic_saliency(mlp, x, dR_dy)
    over_C = sum((layer * c).sum() for layer, c in zip(S, C, strict=True))
    return Conservation(over_C, (dR_dx * x).sum(), (dR_dy * trace.output).sum())


def slopes(f: Callable[[NDArray], Real], theta: NDArray) -> NDArray:
    """Return df/dtheta (N,) from values of f; exact where f is linear in each single entry."""
    steps = TINY * np.eye(theta.size, dtype=object)
    return np.array([(f(theta + h) - f(theta - h)) / (2 * TINY) for h in steps], dtype=object)


def equation_4(mlp: Mlp, x: NDArray, dL_dy: NDArray) -> tuple[Scores, Scores]:
    """Return d/dt theta^2 / 2 under gradient flow, and -dL/dtheta * theta (Eq. 4).

    The left side uses values of the loss L = <dL/dy, y> only, no back-propagation: the slopes
    of L give theta(t - dt) and theta(t + dt), and these give the rate. It is exact for integers
    and fractions if no preactivation of a hidden neuron is 0.
    """

    def loss(row: NDArray) -> Real:
        net = replace(mlp, weights=unflat(row, mlp.weights))
        return (dL_dy * forward(net, x).output).sum()

    theta = flat(mlp.weights).astype(object)
    step = -TINY * slopes(loss, theta)  # dtheta = -dL/dtheta dt
    rates = ((theta + step) ** 2 - (theta - step) ** 2) / (4 * TINY)
    return unflat(rates, mlp.weights), tuple(-S for S in synaptic_saliency(mlp, x, dL_dy))


def axiom(mlp: Mlp, masks: Masks) -> Axiom:
    """Test whether these masks leave a path open, and whether any masks of their size do (Sec. 3).

    All masks of that size are tried, so the network must be small.
    """
    N = flat(masks).size
    subsets = (np.isin(np.arange(N), chosen) for chosen in combinations(range(N), kept(masks)))
    possible = any(path_open(masked(mlp, unflat(subset, masks))) for subset in subsets)
    return Axiom(path_open(masked(mlp, masks)), possible)


def theorem_3(mlp: Mlp, score: Score = synflow_scores) -> Compression:
    """Return critical compression of one-by-one pruning and max compression N / L (Theorem 3)."""
    critical = pruning.critical_compression(mlp, pruning.prune_one_by_one(mlp, score))
    return Compression(critical, Fraction(kept(all_kept(mlp)), len(mlp.weights)))


def equations_9_and_10(scores: Scores) -> list[tuple[Real, Real]]:
    """Pair the only score of each layer that has one with the highest score of each fuller layer.

    Global masking would empty the first layer only if S[l] <= S_i[k] for all i (Eq. 9). But both
    layers have the same total, so S[l] > S_i[k] (Eq. 10). Theorem 3 follows.
    """
    last = [S.sum() for S in scores if np.count_nonzero(S) == 1]
    highest = [S.max() for S in scores if np.count_nonzero(S) > 1]
    return list(product(last, highest))


def theorem_4(mlp: Mlp, keeps: Iterable[int]) -> list[Step]:
    """Prune to each count in `keeps`; return prune size, cut size and outcome (Theorem 4)."""
    steps, before = [], all_kept(mlp)
    for after in pruning.prune_steps(mlp, keeps):
        net = masked(mlp, before)
        removed = flat(synflow_scores(net))[flat(before) & ~flat(after)]
        steps.append(Step(removed.sum(), synflow_objective(net), path_open(masked(mlp, after))))
        before = after
    return steps
