"""The lowest scores among the survivors, exactly, without ranking or even holding all scores.

A sample tells between which two scores the last one to be pruned must lie. One sweep forms all
scores, some rows at a time, and notes the survivors up to the upper one; only those from the
lower one on are ranked. Where the sample misleads, all are.
"""

from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from prune.masks import top

AT_ONCE = 2**19  # scores formed at a time, so that they stay in the cache
SAMPLE = 2**13
STRIDE = 2654435761  # a prime near 2^32 / golden ratio: its multiples spread over any size


class Scored(NamedTuple):
    """The scores of one weight as a matrix (m, n), formed where they are asked for."""

    mask: Tensor  # (m, n) bool, True = survives
    kept: int  # how many do
    rows: Callable[[slice], Tensor]  # scores of some rows
    at: Callable[[Tensor, Tensor], Tensor]  # scores at (row, column), both (k,)


class Found(NamedTuple):
    """Survivors to prune: what they score together, and which entries of which weight they are."""

    total: float
    entries: dict[str, Tensor]


class Sweep(NamedTuple):
    """Survivors that score less than a lower score, and those from there up to an upper one.

    A place counts entries through all weights, one after the other; places ascend.
    """

    total: float  # scores of the first kind together
    below: Tensor  # their places
    ranked: Tensor  # (k,) scores of the second kind
    between: Tensor  # (k,) their places


def lowest(scored: Mapping[str, Scored], count: int) -> Found:
    """The `count` lowest-scored survivors; among equals the later is found first.

    Later: in the order of `scored`, then row by row.

    Raises:
        FloatingPointError: If a survivor's score is not finite; names the weights.
    """
    sample, share = _sample(scored)
    sweep = _sweep(scored, *_bracket(sample, round(count / share)))
    if not 0 <= count - len(sweep.below) <= len(sweep.ranked):
        sweep = _sweep(scored, -torch.inf, torch.inf)
    return _found(scored, sweep, count - len(sweep.below))


def lowest_within(scored: Mapping[str, Scored], budget: float, most: int) -> Found:
    """The most lowest-scored survivors, up to `most`, whose scores sum to at most `budget`.

    As `lowest`; scores must not be negative, and are summed in float64.
    """
    sample, share = _sample(scored)
    sums = sample.double().cumsum(0) * share
    sweep = _sweep(scored, *_bracket(sample, int((sums <= budget).sum())))
    if not sweep.total <= budget < sweep.total + _sum(sweep.ranked):
        sweep = _sweep(scored, -torch.inf, torch.inf)
    sums = sweep.total + sweep.ranked.double().sort().values.cumsum(0)
    count = min(int((sums <= budget).sum()), most - len(sweep.below))
    return _found(scored, sweep, count) if count >= 0 else lowest(scored, most)


def _found(scored: Mapping[str, Scored], sweep: Sweep, count: int) -> Found:
    """All below, and the `count` lowest between."""
    chosen = ~top(sweep.ranked, len(sweep.ranked) - count)
    first, then = (_by_weight(places, scored) for places in (sweep.below, sweep.between[chosen]))
    entries = {name: torch.cat([first[name], then[name]]) for name in scored}
    return Found(sweep.total + _sum(sweep.ranked[chosen]), entries)


def _sum(scores: Tensor) -> float:
    return scores.sum(dtype=torch.float64).item()


def _sample(scored: Mapping[str, Scored]) -> tuple[Tensor, float]:
    """Scores of some survivors, ascending, and how many each of them stands for."""
    total = sum(s.mask.numel() for s in scored.values())
    if total <= 4 * SAMPLE:  # ranking all of them is quicker
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


def _bracket(sample: Tensor, rank: int) -> tuple[float | Tensor, float | Tensor]:
    """Two scores with the score of this rank between them, almost surely (5 sigma)."""
    n = len(sample)
    slack = int(5 * max(0, rank * (n - rank) / max(1, n)) ** 0.5) + 2
    low, high = rank - slack, rank + slack
    return sample[low] if 0 <= low < n else -torch.inf, sample[high] if high < n else torch.inf


def _sweep(scored: Mapping[str, Scored], low: float | Tensor, high: float | Tensor) -> Sweep:
    """Form all scores, and keep of them only what may matter."""
    narrow = _narrow(scored)
    start, total, below, ranked, between = 0, 0.0, [], [], []
    for scores, mask in _portions(scored):
        if not isfinite(scores.sum().item()):
            _refuse_infinite(scored)
        place = positions((scores <= high).logical_and_(mask))
        found = scores.index_select(0, place)
        place = place.add_(start).to(narrow)
        first, then = positions(found < low), positions(found >= low)
        below.append(place.index_select(0, first))
        total += _sum(found.index_select(0, first))
        between.append(place.index_select(0, then))
        ranked.append(found.index_select(0, then))
        start += len(scores)
    return Sweep(total, *map(torch.cat, (below, ranked, between)))


def positions(chosen: Tensor) -> Tensor:
    """Where a mask (n,) is True, ascending; on a CPU by NumPy, up to ten times as fast as torch."""
    if chosen.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(chosen.numpy()))
    return chosen.nonzero().squeeze(1)


def _portions(scored: Mapping[str, Scored]) -> Iterator[tuple[Tensor, Tensor]]:
    """All scores and masks in order, flat, about AT_ONCE at a time: large weights are cut."""
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
    scores, masks = zip(*portions)
    return (torch.cat(scores), torch.cat(masks)) if len(portions) > 1 else portions[0]


def _narrow(scored: Mapping[str, Scored]) -> torch.dtype:
    """What places fit into; there may be many of them."""
    return torch.int32 if sum(s.mask.numel() for s in scored.values()) < 2**31 else torch.int64


def _by_weight(places: Tensor, scored: Mapping[str, Scored]) -> dict[str, Tensor]:
    """Ascending places as entries of the weight that they are in."""
    ends = torch.tensor([s.mask.numel() for s in scored.values()]).cumsum(0)
    cuts = torch.searchsorted(places, ends.to(places))
    starts = [0, *ends.tolist()]
    parts = places.tensor_split(cuts[:-1].cpu())
    return {name: part.long() - start for name, part, start in zip(scored, parts, starts)}


def _refuse_infinite(scored: Mapping[str, Scored]) -> None:
    """Survivors' scores must be finite; a sum of them, or a pruned one's, may overflow."""
    everything = slice(None)
    bad = [n for n, s in scored.items() if not s.rows(everything)[s.mask].isfinite().all()]
    if bad:
        raise FloatingPointError(f"scores of {', '.join(bad)} are not finite")
