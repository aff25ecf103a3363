"""Synaptic Flow of an architecture: what holds before any weight is drawn.

R is a sum over paths of products of |theta|, and no path has a weight twice. So R is linear in each
|theta| alone, and the mean of R over independent weights is R of their means. As in theorems.py,
functions return both sides of a claim.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from reference.mlp import Mlp, Real
from reference.pruning import Masks, flat, unflat
from reference.saliency import Scores, synflow_objective, synflow_scores


def weights_on_paths(mlp: Mlp, C: Masks) -> tuple[Real, Real]:
    """Return the total score of C, and the sum over all paths of strength times weights in C.

    Divided by R the second is the mean number of weights of C on a path, each path weighted by its
    strength, the product of its |theta|. If each path crosses C exactly once, it is 1 (Theorem 2).
    """
    over_C = sum(layer[c].sum() for layer, c in zip(synflow_scores(mlp), C, strict=True))
    total: Real = 0
    for path in product(*(range(n) for n in (mlp.weights[0].shape[1], *map(len, mlp.weights)))):
        steps = list(zip(path[1:], path[:-1], strict=True))
        strength = abs(prod(W[step] for W, step in zip(mlp.weights, steps, strict=True)))
        total += strength * sum(int(c[step]) for c, step in zip(C, steps, strict=True))
    return over_C, total


def draws(a: Mlp, b: Mlp, p: Fraction) -> Iterator[tuple[Fraction, Mlp]]:
    """Yield all networks whose weights are those of a or b, with their probabilities.

    Each weight is that of b with probability p, independently of the others.
    """
    first, second = flat(a.weights), flat(b.weights)
    for choice in product((False, True), repeat=first.size):
        chance = prod((p if chosen else 1 - p for chosen in choice), start=Fraction(1))
        yield chance, replace(a, weights=unflat(np.where(choice, second, first), a.weights))


def moment(a: Mlp, b: Mlp, p: Fraction, power: int = 1) -> Mlp:
    """Return the network of the means of |theta|^power over `draws`."""
    pairs, chance = zip(a.weights, b.weights, strict=True), np.array(p, dtype=object)
    means = (abs(v) ** power * (1 - chance) + abs(w) ** power * chance for v, w in pairs)
    return replace(a, weights=tuple(means))


def expected_flow(a: Mlp, b: Mlp, p: Fraction) -> tuple[Real, Real]:
    """Return the mean of R over `draws`, and R of the mean |theta|."""
    mean = sum(chance * synflow_objective(mlp) for chance, mlp in draws(a, b, p))
    return mean, synflow_objective(moment(a, b, p))


def expected_scores(a: Mlp, b: Mlp, p: Fraction) -> tuple[Scores, Scores]:
    """Return the mean of each score over `draws`, and the scores of the mean |theta|."""
    drawn = [(chance, synflow_scores(mlp)) for chance, mlp in draws(a, b, p)]
    means = (sum(chance * S[layer] for chance, S in drawn) for layer in range(len(a.weights)))
    return tuple(means), synflow_scores(moment(a, b, p))


def expected_square(a: Mlp, b: Mlp, p: Fraction) -> tuple[Real, Real]:
    """Return the mean of R^2 over `draws`, and the same from the moments layer by layer."""
    mean = sum(chance * synflow_objective(mlp) ** 2 for chance, mlp in draws(a, b, p))
    return mean, mean_square(moment(a, b, p).weights, moment(a, b, p, power=2).weights)


def mean_square(means: tuple[NDArray, ...], squares: tuple[NDArray, ...]) -> Real:
    """Return the mean of R^2 for independent weights with these means of |theta| and theta^2.

    M holds the mean of the product of the flows into two neurons. Two flows into one neuron meet
    in its weights, whose variance is added there.
    """
    n_in = means[0].shape[1]
    M = np.ones((n_in, n_in), dtype=object)
    for W, square in zip(means, squares, strict=True):
        M = W @ M @ W.T + np.diag((square - W * W) @ M.diagonal())
    return M.sum()


def first_order(means: tuple[NDArray, ...], squares: tuple[NDArray, ...]) -> tuple[Real, Real]:
    """Return the variance of R, and the part of it that single weights make, which is no larger.

    That part is the sum over all weights of the variance of |theta| times (dR/d|theta|)^2 at the
    means. The rest comes from two and more weights that move together. All means are positive.
    """
    mlp = Mlp(means)
    variance = mean_square(means, squares) - synflow_objective(mlp) ** 2
    parts = zip(synflow_scores(mlp), means, squares, strict=True)
    return variance, sum(((square / W**2 - 1) * S**2).sum() for S, W, square in parts)
