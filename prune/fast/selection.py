"""Select the lowest scores among the survivors, exactly, without sorting or holding all scores.

A sample of the scores gives a lower and an upper bound for the pruning threshold. One pass computes
all scores in blocks and keeps those up to the upper bound; only those between the bounds are
sorted. If the threshold is not between the bounds, all scores are sorted.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, pairwise
from math import isfinite
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from prune.masks import Masks, Scores, check_scores, top, without

AT_ONCE = 2**19  # scores formed at a time, so that they stay in the cache
SAMPLE = 2**13  # scores in the sample
STRIDE = 2654435761  # a prime near 2^32 / golden ratio: its multiples spread over any size


class Scored(NamedTuple):
    """The scores of one weight as a matrix (m, n), formed by blocks or entries when needed."""

    mask: Tensor  # (m, n) bool, True = survives
    kept: int  # number of survivors
    rows: Callable[[slice], Tensor]  # scores of some rows
    at: Callable[[Tensor, Tensor], Tensor]  # scores at (row, column), both (k,)
    finite: bool  # no score is infinite or NaN; False: perhaps one is


class Selection(NamedTuple):
    """Survivors to prune: their total score, and their entries in each weight."""

    total: float
    entries: dict[str, Tensor]


class Sweep(NamedTuple):
    """Survivors that score less than the lower bound, and those between the bounds.

    A place counts the entries of all weights, one weight after the other. Places ascend.
    """

    total: float  # total score of those below
    below: Tensor  # places of those below
    values: Tensor  # (k,) scores of those between
    between: Tensor  # (k,) places of those between


def keep_top(scores: Scores, masks: Masks, keep: int) -> dict[str, Tensor]:
    """Return the masks of `prune.masks.keep_top`; all arguments and errors are the same."""
    check_scores(scores, masks)
    scored = {name: whole(scores[name], mask) for name, mask in masks.items()}
    alive = sum(s.kept for s in scored.values())
    if not 0 <= keep <= alive:
        raise ValueError(f"cannot keep {keep:,} weights: {alive:,} survive")
    found = lowest(scored, alive - keep)
    return {name: without(mask, found.entries[name]) for name, mask in masks.items()}


def whole(scores: Tensor, mask: Tensor) -> Scored:
    """Return scores that exist as a tensor, as `lowest` reads them."""
    S = scores.detach().flatten(1)

    def rows(part: slice) -> Tensor:
        return S[part]

    def at(row: Tensor, column: Tensor) -> Tensor:
        return S[row, column]

    finite = isfinite(S.sum().item())
    return Scored(mask.flatten(1), int(mask.count_nonzero()), rows, at, finite)


def lowest(scored: Mapping[str, Scored], count: int) -> Selection:
    """Return the `count` survivors with the lowest scores; of equal scores, the later is pruned.

    Entries are ordered as in `scored`, then row by row.

    Args:
        scored: name -> the scores of one weight.
        count: At most the number of survivors.

    Raises:
        FloatingPointError: If a survivor's score is not finite; names the weights.
    """
    sample, share = _sample(scored)
    sweep = _sweep(scored, *_bracket(sample, round(count / share)))
    if not 0 <= count - len(sweep.below) <= len(sweep.values):
        sweep = _sweep(scored, -torch.inf, torch.inf)
    return _selection(scored, sweep, count - len(sweep.below))


def lowest_within(scored: Mapping[str, Scored], budget: float, most: int) -> Selection:
    """Return as many lowest-scored survivors as score at most `budget` together.

    Ties are broken as in `lowest`. Scores must not be negative, and are summed in float64.

    Args:
        scored: name -> the scores of one weight.
        budget: The largest total score.
        most: The largest number of survivors to return.

    Raises:
        FloatingPointError: If a survivor's score is not finite; names the weights.
    """
    sample, share = _sample(scored)
    sums = sample.double().cumsum(0) * share
    sweep = _sweep(scored, *_bracket(sample, int((sums <= budget).sum())))
    if not sweep.total <= budget < sweep.total + _sum(sweep.values):
        sweep = _sweep(scored, -torch.inf, torch.inf)
    sums = sweep.total + sweep.values.double().sort().values.cumsum(0)
    count = min(int((sums <= budget).sum()), most - len(sweep.below))
    return _selection(scored, sweep, count) if count >= 0 else lowest(scored, most)


def _selection(scored: Mapping[str, Scored], sweep: Sweep, count: int) -> Selection:
    """Return all survivors below, and the `count` lowest of those between."""
    chosen = positions(~top(sweep.values, len(sweep.values) - count))
    then = sweep.between.index_select(0, chosen)
    entries = _by_weight(then, scored)
    if len(sweep.below):
        first = _by_weight(sweep.below, scored)
        entries = {name: torch.cat([first[name], entries[name]]) for name in scored}
    return Selection(sweep.total + _sum(sweep.values.index_select(0, chosen)), entries)


def _sum(scores: Tensor) -> float:
    return scores.sum(dtype=torch.float64).item()


def _sample(scored: Mapping[str, Scored]) -> tuple[Tensor, float]:
    """Return the scores of some survivors, ascending, and how many weights each represents."""
    total = sum(s.mask.numel() for s in scored.values())
    if total <= 4 * SAMPLE:  # to look at all of them is quicker
        return torch.empty(0), 1
    scores = []
    for s in scored.values():
        size, n = max(1, s.mask.numel()), max(1, s.mask.shape[1])
        place = torch.arange(SAMPLE * size // total, device=s.mask.device) * STRIDE % size
        place = place[s.mask.view(-1)[place]]
        scores.append(s.at(place // n, place % n))
    sample = torch.cat(scores).sort().values
    alive = sum(s.kept for s in scored.values())
    return sample, max(1, alive) / max(1, len(sample))


def _bracket(sample: Tensor, index: int) -> tuple[float | Tensor, float | Tensor]:
    """Return two scores that enclose the threshold, which the sample has at `index`.

    They are 5 standard errors apart from it, so it lies between them almost surely.
    """
    n = len(sample)
    slack = int(5 * max(0, index * (n - index) / max(1, n)) ** 0.5) + 2
    low, high = index - slack, index + slack
    return sample[low] if 0 <= low < n else -torch.inf, sample[high] if high < n else torch.inf


def _sweep(scored: Mapping[str, Scored], low: float | Tensor, high: float | Tensor) -> Sweep:
    """Form all scores in blocks, and keep those up to `high`."""
    if not all(s.finite for s in scored.values()):
        refuse_infinite(scored)
    narrow = _narrow(scored)
    start, total, below, values, between = 0, 0.0, [], [], []
    for scores, mask in _portions(scored):
        place = positions(at_most(scores, high).logical_and_(mask))
        found = scores.index_select(0, place)
        place = place.add_(start).to(narrow)
        first, then = positions(found < low), positions(found >= low)
        below.append(place.index_select(0, first))
        total += _sum(found.index_select(0, first))
        between.append(place.index_select(0, then))
        values.append(found.index_select(0, then))
        start += len(scores)
    return Sweep(total, *map(torch.cat, (below, values, between)))


def at_most(values: Tensor, high: float | Tensor) -> Tensor:
    """Return values <= high; on a CPU by NumPy, which takes a third of the time of torch."""
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(np.less_equal(values.numpy(), float(high)))
    return values <= high


def positions(chosen: Tensor) -> Tensor:
    """Return the positions of True in a mask (n,), ascending.

    On a CPU by NumPy, which is up to ten times as fast as torch.
    """
    if chosen.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(chosen.numpy()))
    return chosen.nonzero().squeeze(1)


def _portions(scored: Mapping[str, Scored]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all scores and masks in order, flat, about AT_ONCE at a time; split large weights."""
    held: list[tuple[Tensor, Tensor]] = []
    size = 0
    for s in scored.values():
        height = max(1, AT_ONCE // max(1, s.mask.shape[1]))
        for row in range(0, max(1, len(s.mask)), height):
            part = slice(row, row + height)
            mask = s.mask[part].reshape(-1)
            if held and size + len(mask) > AT_ONCE:
                yield _joined(held)
                held, size = [], 0
            held.append((s.rows(part).reshape(-1), mask))
            size += len(mask)
    yield _joined(held)


def _joined(portions: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    scores, masks = zip(*portions, strict=True)
    return (torch.cat(scores), torch.cat(masks)) if len(portions) > 1 else portions[0]


def _narrow(scored: Mapping[str, Scored]) -> torch.dtype:
    """Return the smallest integer type that holds all places."""
    return torch.int32 if sum(s.mask.numel() for s in scored.values()) < 2**31 else torch.int64


def _by_weight(places: Tensor, scored: Mapping[str, Scored]) -> dict[str, Tensor]:
    """Turn ascending places into entries of each weight."""
    sizes = [s.mask.numel() for s in scored.values()]
    starts = accumulate(sizes[:-1], initial=0)
    parts = zip(scored, starts, cuts(places, sizes), strict=True)
    return {name: places[part].long() - start for name, start, part in parts}


def cuts(places: Tensor, sizes: list[int]) -> list[slice]:
    """Return where the ascending places of each weight lie, of weights of these sizes."""
    ends = list(accumulate(sizes))
    if places.device.type == "cpu":
        found = np.searchsorted(places.numpy(), ends).tolist()
    else:
        found = torch.searchsorted(places, torch.tensor(ends).to(places)).tolist()
    return [slice(first, last) for first, last in pairwise([0, *found])]


def refuse_infinite(scored: Mapping[str, Scored]) -> None:
    """Raise FloatingPointError if a survivor's score is not finite; sums and pruned ones may be."""
    everything = slice(None)
    bad = [n for n, s in scored.items() if not s.rows(everything)[s.mask].isfinite().all()]
    if bad:
        raise FloatingPointError(f"scores of {', '.join(bad)} are not finite")
