"""The lowest scores among survivors, exactly, without ranking or even holding all of them.

A few scores tell up to where the lowest must lie. One sweep over the weights, some rows at a time,
keeps the survivors up to that bound, a few per cent of all; only those are ranked.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from prune.masks import top

AT_ONCE = 2**19  # scores that are formed at a time, so that they stay in the cache
SAMPLE = 2**15


class Scored(NamedTuple):
    """The scores of one weight as a matrix (m, n), formed where they are asked for."""

    mask: Tensor  # (m, n) bool; True = survives
    kept: int  # how many do
    rows: Callable[[slice], Tensor]  # of some rows
    at: Callable[[Tensor, Tensor], Tensor]  # of the entries at (row, column), both (k,)


class Lowest(NamedTuple):
    """Survivors with the lowest scores: all that are at most some bound."""

    values: Tensor  # (k,) their scores
    places: list[Tensor]  # for each matrix, which entries they are, in the order of values


def lowest(scored: Sequence[Scored], count: int) -> Lowest:
    """The `count` lowest-scored survivors; among equals the later goes first.

    Later: in the order of `scored`, then row by row.
    """
    low, high = _bracket(scored, count)
    found = _up_to(scored, high)
    if len(found.values) < count:
        found = _up_to(scored, torch.inf)
    chosen = found.values < low
    between = (~chosen).nonzero().squeeze(1)
    wanted = count - len(chosen) + len(between)
    if wanted < 0: 
        between=torch.arange(len(chosen)); wanted=count; chosen[:]=False
    chosen[between] = ~top(found.values[between], len(between) - wanted)
    return _chosen(found, chosen)


def _chosen(found: Lowest, chosen: Tensor) -> Lowest:
    parts = chosen.split([len(places) for places in found.places])
    return Lowest(
        found.values[chosen], [places[part] for places, part in zip(found.places, parts)]
    )


def _up_to(scored: Sequence[Scored], bound: float | Tensor) -> Lowest:
    values, places = [], []
    for matrix in scored:
        m, n = matrix.mask.shape
        height = max(1, AT_ONCE // max(1, n))
        here = []
        for start in range(0, max(1, m), height):
            part = slice(start, start + height)
            scores = matrix.rows(part)
            inside = (scores <= bound).logical_and_(matrix.mask[part])
            place = inside.view(-1).nonzero().squeeze(1)
            values.append(scores.view(-1).index_select(0, place))
            here.append(place.add_(start * n))
        places.append(torch.cat(here))
    return Lowest(torch.cat(values), places)


def _sample(scored: Sequence[Scored]) -> Tensor:
    """The scores of survivors among SAMPLE entries, spread evenly over all matrices."""
    total = sum(matrix.mask.numel() for matrix in scored)
    scores = []
    for matrix in scored:
        size, device = matrix.mask.numel(), matrix.mask.device
        draw = torch.arange(SAMPLE * size // total, device=device) * 2654435761 % max(1, size)
        row, column = draw // max(1, matrix.mask.shape[1]), draw % max(1, matrix.mask.shape[1])
        alive = matrix.mask[row, column]
        scores.append(matrix.at(row[alive], column[alive]))
    return torch.cat(scores)


def _bracket(scored: Sequence[Scored], count: int):
    sizes = sum(matrix.mask.numel() for matrix in scored)
    if sizes < 4 * SAMPLE:
        return -torch.inf, torch.inf
    sample = _sample(scored).sort().values
    survivors = sum(matrix.kept for matrix in scored)
    n, p = len(sample), count / survivors
    slack = int(5 * (n * p * (1 - p)) ** 0.5) + 2
    l, h=int(n*p)-slack, int(n*p)+slack
    return (sample[l] if l >= 0 else -torch.inf), (sample[h] if h < n else torch.inf)
