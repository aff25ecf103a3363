"""The lowest scores among the survivors, exactly, without ranking or even holding all scores.

A sample tells between which two scores the last one to be pruned must lie. One sweep forms all
scores, some rows at a time, and notes the survivors up to the upper one; only those from the
lower one on are ranked. Where the sample misleads, all are.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from prune.masks import top

AT_ONCE = 2**19  # scores formed at a time, so that they stay in the cache
SAMPLE = 2**15
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
    """Survivors that score less than a lower score, and those from there up to an upper one."""

    count: int  # of the first kind
    total: float  # of their scores
    below: dict[str, Tensor]  # which entries they are
    ranked: Tensor  # (k,) scores of the second kind
    between: dict[str, Tensor]  # which entries they are, together (k,) in the same order


def lowest(scored: Mapping[str, Scored], count: int) -> Found:
    """The `count` lowest-scored survivors; among equals the later is found first.

    Later: in the order of `scored`, then row by row.

    Raises:
        FloatingPointError: If a survivor's score is not finite; names the weights.
    """
    sample, share = _sample(scored)
    sweep = _sweep(scored, *_bracket(sample, round(count / share)))
    if not 0 <= count - sweep.count <= len(sweep.ranked):
        sweep = _sweep(scored, -torch.inf, torch.inf)
    return _with_lowest(sweep, count - sweep.count)


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
    count = min(most, sweep.count + int((sums <= budget).sum()))
    if count < sweep.count:
        return lowest(scored, count)
    return _with_lowest(sweep, count - sweep.count)


def _with_lowest(sweep: Sweep, count: int) -> Found:
    """All below, and the `count` lowest between."""
    chosen = ~top(sweep.ranked, len(sweep.ranked) - count)
    parts = chosen.split([len(places) for places in sweep.between.values()])
    entries = {
        name: torch.cat([sweep.below[name], places[part]]).long()
        for (name, places), part in zip(sweep.between.items(), parts)
    }
    return Found(sweep.total + _sum(sweep.ranked[chosen]), entries)


def _sum(scores: Tensor) -> float:
    return scores.sum(dtype=torch.float64).item()


def _sample(scored: Mapping[str, Scored]) -> tuple[Tensor, float]:
    """Scores of some survivors, ascending, and how many each of them stands for."""
    total = sum(s.mask.numel() for s in scored.values())
    draws = SAMPLE if total >= 4 * SAMPLE else 0  # ranking a few weights is quicker
    scores = []
    for s in scored.values():
        size, n = max(1, s.mask.numel()), max(1, s.mask.shape[1])
        place = torch.arange(draws * size // max(1, total), device=s.mask.device) * STRIDE % size
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
    total, ranked, below, between = 0.0, [], {}, {}
    for name, s in scored.items():
        m, n = s.mask.shape
        height, sure, open_ = max(1, AT_ONCE // max(1, n)), [], []
        index = torch.int32 if m * n < 2**31 else torch.int64
        for start in range(0, max(1, m), height):
            part = slice(start, start + height)
            here = s.rows(part)
            if not here.sum().isfinite():
                _refuse_infinite(scored)
            place = (here <= high).logical_and_(s.mask[part]).view(-1).nonzero().squeeze(1)
            scores = here.reshape(-1).index_select(0, place)
            place = place.add_(start * n).to(index)
            first = scores < low
            sure.append(place[first])
            total += _sum(scores[first])
            open_.append(place[~first])
            ranked.append(scores[~first])
        below[name], between[name] = torch.cat(sure), torch.cat(open_)
    return Sweep(sum(map(len, below.values())), total, below, torch.cat(ranked), between)


def _refuse_infinite(scored: Mapping[str, Scored]) -> None:
    """Survivors' scores must be finite; a sum of them, or a pruned one's, may overflow."""
    everything = slice(None)
    bad = [n for n, s in scored.items() if not s.rows(everything)[s.mask].isfinite().all()]
    if bad:
        raise FloatingPointError(f"scores of {', '.join(bad)} are not finite")
