"""Allocations: exact totals, the densities of their definitions, and scores within each tensor."""

import random
import re
from fractions import Fraction
from math import ceil, inf, prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proofs_tests.prune.test_pruning import plans, probe_of, small
from proofs_tests.tools.draws import half_as_many
from prune import Probe, prune
from prune.allocation import ALLOCATIONS, RULES, allocate
from prune.masks import dense_masks, keep_top, kept, size

SIZES = st.integers(1, 9)
SHAPES = st.one_of(st.tuples(SIZES, SIZES), st.tuples(SIZES, SIZES, st.just(3), st.just(3)))
SLACK = 1e-9  # of the rounding of ideals in float64


@st.composite
def starts(draw, dense=False):
    """Masks of a few tensors, all of them True or not."""
    masks = {f"{i}": torch.ones(s).bool() for i, s in enumerate(draw(st.lists(SHAPES, min_size=1)))}
    if dense or draw(st.booleans()):
        return masks
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return {name: torch.rand(m.shape, generator=generator) < 0.7 for name, m in masks.items()}


def divided(allocation, masks, totals, flow=()):
    """The counts of each tensor for falling totals, without the tuples."""
    counts = allocate(allocation, masks, [{tuple(masks): total} for total in totals], flow)
    return [{name: count for (name,), count in step.items()} for step in counts]


def of_some_totals(allocation, masks, seed):
    """(falling totals, their counts): a few, with neighbours, that `uniform+` does not refuse."""
    most, least = kept(masks), 1
    if allocation == "uniform+":
        least = min(most, sum(least_of_uniform_plus(masks).values()))
    chosen = random.Random(seed).choices(range(least, most + 1), k=4)
    totals = sorted({max(least, total - i) for total in chosen for i in (0, 1, 2)}, reverse=True)
    return totals, divided(allocation, masks, totals)


def least_of_uniform_plus(masks):
    """The weights that `uniform+` keeps at any compression, as its docstring has them."""
    least = {name: min(1, kept({name: mask})) for name, mask in masks.items()}
    convolutions = [name for name, mask in masks.items() if mask.dim() > 2]
    linear = [name for name, mask in masks.items() if mask.dim() == 2]
    exceptions = {name: masks[name].numel() for name in convolutions[:1]}
    exceptions |= {name: ceil(masks[name].numel() / 5) for name in linear[-1:]}
    return least | {n: min(kept({n: masks[n]}), count) for n, count in exceptions.items()}


@given(starts(), st.sampled_from(sorted(RULES)), st.integers(0, 999))
def test_counts_add_up_stay_within_bounds_and_nest(masks, allocation, seed):
    """A tensor has at least one weight where the total allows one for each."""
    if not kept(masks):
        return
    totals, counts = of_some_totals(allocation, masks, seed)
    most = {name: int(mask.sum()) for name, mask in masks.items()}
    assert [sum(step.values()) for step in counts] == totals
    for before, after in zip([most, *counts], counts):
        assert all(0 <= after[name] <= before[name] for name in masks)
    for step in counts:
        if sum(step.values()) >= sum(map(bool, most.values())):
            assert all(step[name] for name in masks if most[name])


# (count, shape) -> the number that an allocation makes equal in all tensors, rising with the count
EQUAL = {
    "uniform": lambda count, shape: count / prod(shape),
    "erk": lambda count, shape: count / sum(shape),
    "igq": lambda count, shape: Fraction(1, prod(shape)) - 1 / count,  # minus the force F
}


@given(starts(dense=True), st.sampled_from(sorted(EQUAL)), st.integers(0, 999))
def test_tensors_that_are_not_dense_have_the_counts_of_one_number(masks, allocation, seed):
    """Density, c and F are those of all tensors, up to half a weight: the counts are rounded.

    A dense tensor may have a higher number, one with a single weight a lower one.
    """
    for counts in of_some_totals(allocation, masks, seed)[1]:
        shaped = [(Fraction(counts[name]), masks[name].shape) for name in masks if counts[name]]
        half, number = Fraction(1, 2), EQUAL[allocation]
        low = [number(count - half, shape) for count, shape in shaped if count > 1]
        high = [number(count + half, shape) for count, shape in shaped if count < prod(shape)]
        assert max(low, default=-inf) <= min(high, default=inf) + SLACK


@given(starts(dense=True), st.integers(0, 999))
def test_uniform_plus_is_uniform_but_for_two_layers(masks, seed):
    fixed = least_of_uniform_plus(masks)
    for counts in of_some_totals("uniform+", masks, seed)[1]:
        assert all(counts[name] >= count for name, count in fixed.items())
        free = [name for name in masks if fixed[name] == 1 < counts[name]]
        low = max((Fraction(2 * counts[n] - 1, 2 * masks[n].numel()) for n in free), default=0)
        high = [Fraction(2 * counts[n] + 1, 2 * masks[n].numel()) for n in free]
        assert low <= min(high, default=1) + SLACK
    first = next((name for name, mask in masks.items() if mask.dim() > 2), None)
    assert first is None or counts[first] == masks[first].numel()


WORKED = [
    ("uniform", 451, {"conv": 11, "a": 80, "b": 360}),  # a tenth
    ("uniform+", 1000, {"conv": 108, "a": 162, "b": 730}),  # 892 = 20.3 % of 4,400
    ("erk", 500, {"conv": 34, "a": 155, "b": 311}),  # 13 : 60 : 120
    ("erk", 2000, {"conv": 108, "a": 631, "b": 1261}),  # one is dense; 1,892 = 60 : 120
    (
        "igq",
        500,
        {"conv": 75, "a": 191, "b": 234},
    ),  # F = 0.004: 3,600 / 15.4
    ("igq", 2, {"conv": 1, "a": 1, "b": 0}),  # less than one for each
]


@pytest.mark.parametrize("allocation, total, counts", WORKED)
def test_a_worked_example(allocation, total, counts):
    """108, 800 and 3,600 weights."""
    shapes = {"conv": (4, 3, 3, 3), "a": (20, 40), "b": (60, 60)}
    masks = {name: torch.ones(shape).bool() for name, shape in shapes.items()}
    assert divided(allocation, masks, [total]) == [counts]


# In networks


@half_as_many
@given(plans(), st.sampled_from(["random", "magnitude", "snip", "synflow"]),
       st.sampled_from(["uniform", "erk", "igq"]))  # fmt: skip
def test_within_each_tensor_the_best_scores_are_kept(plan, score, allocation):
    """At each step the counts of the allocation, of the weights that the step before left."""
    network, compression, steps, schedule = plan
    taken, start = [], dense_masks(network.model)
    options = {"report": taken.append, "allocation": allocation}
    probe = probe_of(network, 0)
    try:
        masks = prune(network.model, score, probe, compression, steps, schedule, **options)
    except ValueError as error:
        assert "all scores" in str(error)
        return
    expected = divided(allocation, start, [step.kept for step in taken])
    before = start
    for step, counts in zip(taken, expected, strict=True):
        for name, keep in counts.items():
            best = keep_top(step.scores, {name: before[name]}, keep)
            assert torch.equal(step.masks[name], best[name])
        before = step.masks
    assert all(torch.equal(masks[name], before[name]) for name in start)
    assert kept(masks) == ceil(Fraction(size(start)) / Fraction(compression))


@pytest.mark.parametrize("name, compression", [("vgg11", 100), ("resnet20", 300)])
def test_synflow_has_the_counts_of_synflow_whatever_the_score(name, compression):
    """By SynFlow's own scores, the masks are its own, too."""
    model, probe = small(name), Probe((3, 32, 32), generator=torch.Generator())
    flow = prune(model, "synflow", probe, compression)
    same = prune(model, "synflow", probe, compression, allocation="synflow")
    assert all(torch.equal(same[name], mask) for name, mask in flow.items())
    for score, steps in (("random", 1), ("magnitude", 3)):
        masks = prune(model, score, probe, compression, steps, allocation="synflow")
        assert [int(m.sum()) for m in masks.values()] == [int(m.sum()) for m in flow.values()]
        assert any(not torch.equal(masks[name], mask) for name, mask in flow.items())


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_an_allocation_goes_on_from_masks_and_counts_no_excluded_weights(allocation):
    model, probe = small("vgg11"), Probe((3, 32, 32), generator=torch.Generator())
    options = {"exclude": "classifier.*", "allocation": allocation}
    first = prune(model, "random", probe, 20, **options)
    second = prune(model, "random", probe, 60, steps=3, masks=first, **options)
    assert all((second[name] <= mask).all() for name, mask in first.items())
    assert kept(second) == ceil(size(first) / 60)


def test_steps_between_those_of_synflow_have_counts_on_the_line_between_them():
    """SynFlow goes from 6 and 4 weights to 3 and 1. Of 4.5 and 2.5, the earlier is rounded up."""
    masks = {"a": torch.ones(2, 3).bool(), "b": torch.ones(2, 2).bool()}
    flow = [{"a": torch.arange(6) < 3, "b": torch.arange(4) < 1}]
    counts = [tuple(step.values()) for step in divided("synflow", masks, [10, 8, 7, 4], flow)]
    assert counts == [(6, 4), (5, 3), (5, 2), (3, 1)]


@pytest.mark.parametrize(
    "options, why",
    [
        ({"allocation": "er"}, "allocation 'er' is unknown; choose from uniform, uniform+, erk, i"),
        ({"allocation": "erk", "schedule": "certified"}, "schedule 'certified' takes no alloca"),
        ({"allocation": "erk", "scope": "local"}, "scope 'local' takes no allocation"),
        ({"allocation": "uniform+", "compression": 5000}, "allocation 'uniform+' keeps at least"),
    ],
)
def test_what_fixes_the_counts_in_another_way_is_refused(options, why):
    model = small("vgg11", 0.25)
    with pytest.raises(ValueError, match=f"^{re.escape(why)}"):
        prune(
            model, **{"score": "synflow", "probe": Probe((3, 32, 32)), "compression": 2} | options
        )
