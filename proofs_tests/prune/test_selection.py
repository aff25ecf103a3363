"""Selection of the lowest scores: exact for any sample, and without sorting all scores."""

from contextlib import contextmanager
from itertools import pairwise
from math import inf, nan
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune.fast.selection import AT_ONCE, Scored, _narrow, _portions, lowest, lowest_within
from prune.fast.selection import keep_top as fast_keep_top
from prune.masks import keep_top, kept, size, top


@st.composite
def scored_weights(draw, least=-3):
    """Scores of a few weights, with many ties, and masks."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    shapes = draw(st.lists(st.tuples(*[st.integers(0, 9)] * 2), min_size=1, max_size=4))
    most, density = draw(st.sampled_from([0, 3, 1000])), draw(st.sampled_from([0.2, 1]))
    S = [torch.randint(least, most + 1, shape, generator=generator).double() for shape in shapes]
    masks = [torch.rand(shape, generator=generator) < density for shape in shapes]
    return {str(i): s for i, s in enumerate(S)}, {str(i): m for i, m in enumerate(masks)}


def as_scored(scores, masks):
    """Scores that exist already, in the form that selection takes."""
    return {
        name: Scored(
            masks[name],
            int(masks[name].sum()),
            rows=S.__getitem__,
            at=lambda *at, S=S: S[at],
            finite=bool(S.isfinite().all()),
        )
        for name, S in scores.items()
    }


def left(found, masks):
    """The masks without what was found."""
    masks = {name: mask.clone() for name, mask in masks.items()}
    for name, entries in found.entries.items():
        assert masks[name].view(-1)[entries].all() and len(entries.unique()) == len(entries)
        masks[name].view(-1)[entries] = False
    return masks


bounds = st.sampled_from([-inf, 1.0, 2.0, 3.0, 200.0, 700.0, inf])
samples = st.one_of(
    st.integers(0, 12).map(lambda size: patch("prune.fast.selection.SAMPLE", size)),
    st.tuples(bounds, bounds).map(
        lambda pair: patch("prune.fast.selection._bracket", lambda *_: tuple(sorted(pair)))
    ),
)  # a small sample, or bounds that may be wrong


@given(scored_weights(), st.floats(0, 1), samples)
def test_the_lowest_are_those_that_keep_top_prunes(weights, share, sample):
    """Exactly, for any sample; of equal scores the later is pruned first."""
    scores, masks = weights
    alive = sum(int(mask.sum()) for mask in masks.values())
    count = round(share * alive)
    with sample, patch("prune.fast.selection.AT_ONCE", 7):
        found = lowest(as_scored(scores, masks), count)
    expected = keep_top(scores, masks, alive - count)
    assert all(torch.equal(left(found, masks)[name], expected[name]) for name in masks)
    assert found.total == sum(scores[n][masks[n] & ~expected[n]].sum().item() for n in masks)


@given(scored_weights(), st.floats(0, 1), samples)
def test_the_fast_keep_top_gives_the_same_masks(weights, share, sample):
    """Also of tensors with more than two dimensions; the masks it takes are not changed."""
    scores, masks = ({n: t[..., None] for n, t in tensors.items()} for tensors in weights)
    keep = round(share * sum(int(mask.sum()) for mask in masks.values()))
    before = {name: mask.clone() for name, mask in masks.items()}
    with sample, patch("prune.fast.selection.AT_ONCE", 7):
        found = fast_keep_top(scores, masks, keep)
    expected = keep_top(scores, masks, keep)
    assert all(torch.equal(found[name], expected[name]) for name in masks)
    assert all(torch.equal(before[name], masks[name]) for name in masks)


@pytest.mark.parametrize(
    "scores, keep",
    [({}, 1), ({"a": torch.ones(1, 2)}, 1), ({"a": torch.ones(2, 2)}, 5),
     ({"a": torch.ones(2, 2)}, -1), ({"a": torch.full((2, 2), nan)}, 1)],
)  # fmt: skip
def test_both_refuse_the_same_with_the_same_sentence(scores, keep):
    masks = {"a": torch.ones(2, 2, dtype=torch.bool)}
    refusals = []
    for function in (keep_top, fast_keep_top):
        with pytest.raises((ValueError, FloatingPointError)) as refused:
            function(scores, masks, keep)
        refusals.append((refused.type, str(refused.value)))
    assert refusals[0] == refusals[1]


@given(scored_weights(least=0), st.integers(0, 10), st.sampled_from([1, 11, 4]), samples)
def test_the_lowest_within_a_budget_are_as_many_as_fit(weights, of_sum, of_all, sample):
    """One more would exceed the budget (Theorem 4), or the number asked for."""
    scores, masks = weights
    ranked = torch.cat([scores[name][masks[name]] for name in masks]).sort().values
    budget, most = of_sum * ranked.sum().item() // 10, of_all * len(ranked) // 10
    with sample, patch("prune.fast.selection.AT_ONCE", 7):
        found = lowest_within(as_scored(scores, masks), budget, most)
    count = min(most, int((ranked.cumsum(0) <= budget).sum()))
    expected = keep_top(scores, masks, len(ranked) - count)
    assert all(torch.equal(left(found, masks)[name], expected[name]) for name in masks)
    assert found.total == ranked[:count].sum() <= budget


@pytest.mark.parametrize("value", [inf, -inf, nan])
def test_scores_that_are_not_finite_are_refused_with_their_weights(value):
    """Scores of survivors count; those of pruned weights do not matter."""
    scores = {"a": torch.zeros(3, 4), "b": torch.zeros(2, 2), "c": torch.zeros(2, 2)}
    masks = {name: torch.ones(S.shape, dtype=torch.bool) for name, S in scores.items()}
    scores["a"][1, 2] = scores["c"][0, 0] = scores["b"][1, 1] = value
    masks["b"][1, 1] = False
    with pytest.raises(FloatingPointError, match="scores of a, c are not finite"):
        lowest(as_scored(scores, masks), 2)
    masks["a"][1, 2] = masks["c"][0, 0] = False
    lowest(as_scored(scores, masks), 2)


# Cost


@given(scored_weights())
def test_scores_are_formed_in_portions(weights):
    """Portions are rows in order, of at most AT_ONCE scores or one row, and not far fewer."""
    scores, masks = weights
    longest = max(S.shape[1] for S in scores.values())
    with patch("prune.fast.selection.AT_ONCE", 7):
        formed, alive = zip(*_portions(as_scored(scores, masks)))
    assert torch.equal(torch.cat(formed), torch.cat([S.flatten() for S in scores.values()]))
    assert torch.equal(torch.cat(alive), torch.cat([mask.flatten() for mask in masks.values()]))
    sizes = [len(portion) for portion in formed]
    assert max(sizes) <= max(7, longest)
    assert all(size + following > 7 for size, following in pairwise(sizes))


@pytest.mark.parametrize("total, kind", [(2**31 - 1, torch.int32), (2**31, torch.int64)])
def test_places_fit_into_their_integers(total, kind):
    """The type holds all places and N, the end of the last weight; int32 where that suffices."""
    halves = [
        torch.empty(1, n, dtype=torch.bool, device="meta") for n in (total // 2, -(-total // 2))
    ]
    weights = {
        str(i): Scored(mask, 0, mask.__getitem__, mask.__getitem__, True)
        for i, mask in enumerate(halves)
    }
    assert _narrow(weights) == kind
    assert torch.iinfo(kind).max >= total


def large():
    """Two large weights around a small one, scores of all sizes, and masks that keep most."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (1000, 700), "b": (9, 3), "c": (200, 1000)}
    scores = {n: torch.randn(shape, generator=generator).exp() for n, shape in shapes.items()}
    masks = {n: torch.rand(shape, generator=generator) < 0.8 for n, shape in shapes.items()}
    return scores, masks


@contextmanager
def counted(scored):
    """The same weights, and lists: how many scores are formed, and sorted, at a time."""
    formed, ordered = [], []

    def noted(S):
        formed.append(S.numel())
        return S

    def ordering(S, keep):
        ordered.append(len(S))
        return top(S, keep)

    spied = {n: s._replace(rows=lambda part, s=s: noted(s.rows(part))) for n, s in scored.items()}
    with patch("prune.fast.selection.top", ordering):
        yield spied, formed, ordered


@pytest.mark.parametrize("share", [0.0005, 0.02, 0.5, 0.9])
@pytest.mark.parametrize("within", [False, True])
def test_each_score_is_formed_once_and_few_are_sorted(share, within):
    """The sample bounds the threshold to 5 standard errors: with 2^13 draws, within 7 %."""
    scores, masks = large()
    alive, flat = kept(masks), torch.cat([scores[n][masks[n]] for n in masks]).double()
    count = round(share * alive)
    budget = flat.sort().values[:count].sum().item() * (1 + 1e-12)  # summed in another order
    with counted(as_scored(scores, masks)) as (spied, formed, ordered):
        found = lowest_within(spied, budget, alive) if within else lowest(spied, count)
    expected = keep_top(scores, masks, alive - count)
    assert all(torch.equal(left(found, masks)[name], expected[name]) for name in masks)
    assert sum(formed) == size(masks) and max(formed) <= AT_ONCE
    assert len(ordered) == 1 and ordered[0] <= 0.07 * alive
