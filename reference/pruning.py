"""Masks and layer-collapse (Sec. 3), schedules (App. 11), Algorithm 1 (Sec. 6).

The word for rho is compression; N is the number of weights, of which compression rho leaves
ceil(N / rho). Every count here is exact.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from itertools import takewhile
from math import ceil
from numbers import Number

import numpy as np
from numpy.typing import NDArray

from reference.mlp import Mlp
from reference.saliency import Scores, synflow_scores

Masks = tuple[NDArray, ...]  # bool, True = kept; shaped like the weights


def all_kept(mlp: Mlp) -> Masks:
    """mu = 1."""
    return tuple(np.ones(W.shape, dtype=bool) for W in mlp.weights)


def masked(mlp: Mlp, masks: Masks) -> Mlp:
    """theta_mu = mu * theta."""
    return replace(mlp, weights=tuple(m * W for m, W in zip(masks, mlp.weights)))


def kept(masks: Masks) -> int:
    return sum(int(m.sum()) for m in masks)


def flat(layers: tuple[NDArray, ...]) -> NDArray:
    """All entries in one row (N,): layer after layer, each row-major."""
    return np.concatenate([layer.ravel() for layer in layers])


def unflat(row: NDArray, like: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    """The inverse of `flat`, for layers shaped as `like`."""
    ends = np.cumsum([layer.size for layer in like])
    return tuple(part.reshape(layer.shape) for part, layer in zip(np.split(row, ends[:-1]), like))


def path_open(mlp: Mlp) -> bool:
    """Is some output still reached from some input? If not, the network has collapsed (Sec. 3).

    Same as synflow_objective(mlp) > 0, but deaf to overflow and underflow.
    """
    every_input = np.ones(mlp.weights[0].shape[1], dtype=bool)
    return bool(reduce(lambda reached, W: (W != 0) @ reached, mlp.weights, every_input).any())


def critical_compression(mlp: Mlp, masks: Iterable[Masks]) -> Fraction:
    """N over the fewest weights that these masks leave before they first close all paths (Sec. 3).

    `masks` come as an algorithm finds them, ever fewer. Nothing goes beyond N / L, one weight a
    layer: max compression.
    """
    N = kept(all_kept(mlp))
    still_open = takewhile(lambda m: path_open(masked(mlp, m)), masks)
    return Fraction(N, min(map(kept, still_open), default=N))


def keep_top(scores: Scores, masks: Masks, keep: int) -> Masks:
    """Keep the `keep` best survivors of all layers together: global masking (Sec. 3).

    Returns:
        Masks with exactly `keep` True, none where `masks` is False. Of equal scores the
        earlier survives: the lower layer, then row-major.

    Raises:
        ValueError: If `keep` is negative or more than are left.
    """
    alive = np.flatnonzero(flat(masks))
    if not 0 <= keep <= len(alive):
        raise ValueError(f"cannot keep {keep} of {len(alive)} weights")
    best_first = np.argsort(-flat(scores)[alive], kind="stable")
    chosen = np.zeros_like(flat(masks))  # (N,)
    chosen[alive[best_first[:keep]]] = True
    return unflat(chosen, masks)


def exponential(N: int, rho: Number, k: int, n: int) -> int:
    """ceil(N rho^(-k/n)), what step k of n leaves (Algorithm 1, line 5; App. 11).

    Found without rounding, as the least m with m^n rho^k >= N^n.
    """
    rho = Fraction(rho)
    return bisect_left(range(N), N**n, key=lambda m: m**n * rho**k)


def linear(N: int, rho: Number, k: int, n: int) -> int:
    """ceil(N (1 - (1 - 1/rho) k/n)), what step k of n leaves: every step removes as many.

    App. 11 writes rho_k = k rho / n, which starts below 1; the authors' code does this.
    """
    return ceil(N * (1 - (1 - 1 / Fraction(rho)) * Fraction(k, n)))


def synflow_prune(mlp: Mlp, compression: Number, steps: int, schedule=exponential) -> Masks:
    """Iterative Synaptic Flow Pruning (Algorithm 1).

    Returns:
        Masks with ceil(N / compression) True; line 7, f(x; mu * theta_0), is masked(mlp, masks).
    """
    masks = all_kept(mlp)  # 1: mu = 1
    N = kept(masks)
    for step in range(1, steps + 1):
        net = masked(mlp, masks)  # 2: theta_mu <- mu * theta_0
        scores = synflow_scores(net)  # 3, 4: S <- dR/dtheta_mu * theta_mu, at once by Eq. 6
        keep = schedule(N, compression, step, steps)  # 5: tau, said as a count
        masks = keep_top(scores, masks, keep)  # 6: mu <- (tau < S)
    return masks


def prune_steps(
    mlp: Mlp, keeps: Iterable[int], score: Callable[[Mlp], Scores] = synflow_scores
) -> Iterator[Masks]:
    """Any iterative pruning: for each count in `keeps`, re-score, then keep the best so many."""
    masks = all_kept(mlp)
    for keep in keeps:
        masks = keep_top(score(masked(mlp, masks)), masks, keep)
        yield masks


def prune_one_by_one(mlp: Mlp, score=synflow_scores) -> Iterator[Masks]:
    """Re-evaluate the scores every time a weight is pruned, until none is left (Theorem 3)."""
    return prune_steps(mlp, reversed(range(kept(all_kept(mlp)))), score)
