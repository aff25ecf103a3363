"""Masks and layer-collapse (Sec. 3), schedules (App. 11), Algorithm 1 (Sec. 6).

N is the number of weights. Compression rho leaves ceil(N / rho) of them. All counts are exact.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from itertools import takewhile
from math import ceil

import numpy as np
from numpy.typing import NDArray

from reference.mlp import Mlp, Real
from reference.saliency import Scores, synflow_scores

Masks = tuple[NDArray, ...]  # bool, True = kept; shaped like the weights
Score = Callable[[Mlp], Scores]
Schedule = Callable[[int, Real, int, int], int]  # (N, rho, k, n) -> weights kept after step k


def all_kept(mlp: Mlp) -> Masks:
    """Return mu = 1, the masks that keep every weight."""
    return tuple(np.ones(W.shape, dtype=bool) for W in mlp.weights)


def masked(mlp: Mlp, masks: Masks) -> Mlp:
    """Return the network with theta_mu = mu * theta."""
    weights = tuple(m * W for m, W in zip(masks, mlp.weights, strict=True))
    return replace(mlp, weights=weights)


def kept(masks: Masks) -> int:
    """Count the weights that the masks keep."""
    return sum(int(m.sum()) for m in masks)


def flat(layers: tuple[NDArray, ...]) -> NDArray:
    """Join all entries in one row (N,): layer after layer, each row-major."""
    return np.concatenate([layer.ravel() for layer in layers])


def unflat(row: NDArray, like: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    """Split a row (N,) into layers shaped like `like`: the inverse of `flat`."""
    ends = np.cumsum([layer.size for layer in like])
    parts = zip(np.split(row, ends[:-1]), like, strict=True)
    return tuple(part.reshape(layer.shape) for part, layer in parts)


def path_open(mlp: Mlp) -> bool:
    """Test whether some path of non-zero weights joins an input to an output (Sec. 3).

    If there is none, the network has collapsed. The result equals synflow_objective(mlp) > 0,
    but it cannot overflow or underflow.
    """
    every_input = np.ones(mlp.weights[0].shape[1], dtype=bool)
    return bool(reduce(lambda reached, W: (W != 0) @ reached, mlp.weights, every_input).any())


def critical_compression(mlp: Mlp, masks: Iterable[Masks]) -> Fraction:
    """Return the largest compression that an algorithm reaches before it collapses (Sec. 3).

    This is N over the fewest weights left while a path is open. It is at most N / L, one weight
    in each of the L layers: max compression.

    Args:
        mlp: The dense network.
        masks: The masks in the order in which the algorithm finds them, ever fewer weights.
    """
    N = kept(all_kept(mlp))
    still_open = takewhile(lambda m: path_open(masked(mlp, m)), masks)
    return Fraction(N, min(map(kept, still_open), default=N))


def keep_top(scores: Scores, masks: Masks, keep: int) -> Masks:
    """Keep the `keep` highest scores of all layers together: global masking (Sec. 3).

    Args:
        scores: One score for each weight.
        masks: The weights that are left so far; the others stay pruned.
        keep: The number of weights to keep.

    Returns:
        Masks with exactly `keep` True. Of equal scores the earlier survives: the lower layer,
        then row-major.

    Raises:
        ValueError: If `keep` is negative or larger than the number of weights left.
    """
    alive = np.flatnonzero(flat(masks))
    if not 0 <= keep <= len(alive):
        raise ValueError(f"cannot keep {keep} of {len(alive)} weights")
    best_first = np.argsort(-flat(scores)[alive], kind="stable")
    chosen = np.zeros_like(flat(masks))  # (N,)
    chosen[alive[best_first[:keep]]] = True
    return unflat(chosen, masks)


def exponential(N: int, rho: Real, k: int, n: int) -> int:
    """Return ceil(N rho^(-k/n)), the weights left after step k of n (Algorithm 1, line 5; App. 11).

    Every step removes the same fraction. The count is exact: the least m with m^n rho^k >= N^n.
    """
    rho = Fraction(rho)
    return bisect_left(range(N), N**n, key=lambda m: m**n * rho**k)


def linear(N: int, rho: Real, k: int, n: int) -> int:
    """Return ceil(N (1 - (1 - 1/rho) k/n)), the weights left after step k of n (App. 11).

    Every step removes the same number, as in the authors' code. App. 11 writes rho_k = k rho / n,
    which is below 1 in the first steps.
    """
    return ceil(N * (1 - (1 - 1 / Fraction(rho)) * Fraction(k, n)))


def synflow_prune(
    mlp: Mlp, compression: Real, steps: int, schedule: Schedule = exponential
) -> Masks:
    """Prune by Iterative Synaptic Flow Pruning (Algorithm 1).

    Returns:
        Masks with ceil(N / compression) True; line 7, f(x; mu * theta_0), is masked(mlp, masks).
    """
    masks = all_kept(mlp)  # 1: mu = 1
    N = kept(masks)
    for step in range(1, steps + 1):
        net = masked(mlp, masks)  # 2: theta_mu <- mu * theta_0
        scores = synflow_scores(net)  # 3, 4: S <- dR/dtheta_mu * theta_mu, at once by Eq. 6
        keep = schedule(N, compression, step, steps)  # 5: tau, as a count
        masks = keep_top(scores, masks, keep)  # 6: mu <- (tau < S)
    return masks


def prune_steps(mlp: Mlp, keeps: Iterable[int], score: Score = synflow_scores) -> Iterator[Masks]:
    """Prune iteratively: for each count in `keeps` score anew, then keep that many weights."""
    masks = all_kept(mlp)
    for keep in keeps:
        masks = keep_top(score(masked(mlp, masks)), masks, keep)
        yield masks


def prune_one_by_one(mlp: Mlp, score: Score = synflow_scores) -> Iterator[Masks]:
    """Remove one weight at a time and score anew each time, until none is left (Theorem 3)."""
    return prune_steps(mlp, reversed(range(kept(all_kept(mlp)))), score)
