"""Allocations: how many weights each tensor keeps. Within a tensor, a score decides.

An allocation gives the ideal count of each tensor as a function of x, 0 < x <= 1. No count falls
when x rises. The counts of a total are the rounded ideals of the x at which they add up to it. So
the counts of a lower total lie below them, and the masks of all steps nest. Rounding by largest
remainders does not have this property (the Alabama paradox). n is the size of a tensor.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import ceil, prod

from prune.masks import Masks
from prune.schedules import Counts, check_choice

FINEST = 2**52  # x is a whole number of parts of this size, exact in float64

Shapes = Mapping[str, tuple[int, ...]]
Ideals = dict[str, float]


def uniform(shapes: Shapes, x: float) -> Ideals:
    """Return x n: all tensors have the same density."""
    return {name: x * prod(shape) for name, shape in shapes.items()}


def uniform_plus(shapes: Shapes, x: float) -> Ideals:
    """Return x n, with the first convolution dense and the last linear layer at least 20 % dense.

    This is the rule of Gale, Elsen and Hooker 2019, "The State of Sparsity in Deep Neural
    Networks". A network without one of these layers has no exception for it.
    """
    ideals = uniform(shapes, x)
    convolutions = [name for name, shape in shapes.items() if len(shape) > 2]
    linear = [name for name, shape in shapes.items() if len(shape) == 2]
    for name in convolutions[:1]:
        ideals[name] = prod(shapes[name])
    for name in linear[-1:]:
        ideals[name] = max(ideals[name], ceil(prod(shapes[name]) / 5))
    return ideals


def erk(shapes: Shapes, x: float) -> Ideals:
    """Return c (n_in + n_out + kh + kw), at most n: Erdos-Renyi-Kernel.

    So the density is proportional to (n_in + n_out + kh + kw) / (n_in n_out kh kw), and what
    exceeds a dense layer goes to the others: Evci et al. 2020, "Rigging the Lottery". c is x times
    the least number at which all layers are dense.
    """
    c = x * max(prod(shape) / sum(shape) for shape in shapes.values())
    return {name: min(prod(shape), c * sum(shape)) for name, shape in shapes.items()}


def igq(shapes: Shapes, x: float) -> Ideals:
    """Return n / (F n + 1) with F = 1 - x: the ideal gas quotas.

    Each layer is compressed F n + 1 times, with one force F for all of them: Vysogorets and Kempe
    2023, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity".
    """
    return {name: prod(shape) / ((1 - x) * prod(shape) + 1) for name, shape in shapes.items()}


RULES: dict[str, Callable[[Shapes, float], Ideals]] = {
    "uniform": uniform,
    "uniform+": uniform_plus,
    "erk": erk,
    "igq": igq,
}
ALLOCATIONS = (*RULES, "synflow")


def along(path: Sequence[tuple[int, Mapping[str, int]]], x: float) -> Ideals:
    """Return the counts where a path of nested masks has x of its first number of weights.

    Args:
        path: The number of weights and the counts of each tensor, from those of the first masks
            to 0; the numbers differ.
        x: Between two entries of the path, the counts are on the straight line that joins them.
    """
    goal = x * path[0][0]
    i = next(i for i, (total, _) in enumerate(path) if total <= goal)
    if i == 0:
        return dict(path[0][1])
    (high, above), (low, below) = path[i - 1], path[i]
    part = (goal - low) / (high - low)
    return {name: count + part * (above[name] - count) for name, count in below.items()}


def rounded(ideals: Ideals, least: Mapping[str, int], most: Mapping[str, int]) -> dict[str, int]:
    """Return the nearest whole numbers within the bounds."""
    return {n: min(most[n], max(least[n], int(ideals[n] + 0.5))) for n in most}


def divide(total: int, counts: Callable[[float], dict[str, int]]) -> dict[str, int]:
    """Divide a total among tensors: the counts of the x at which they add up to it.

    Where several counts rise at one x, the earlier tensors get the weights that are left.

    Args:
        total: The number of weights to keep, at most that of x = 1.
        counts: The counts at x, of which none falls when x rises.
    """
    i = bisect_left(range(1, FINEST), total, key=lambda i: sum(counts(i / FINEST).values())) + 1
    above = counts(i / FINEST)
    divided = counts((i - 1) / FINEST) if i > 1 else dict.fromkeys(above, 0)
    left = total - sum(divided.values())
    for name in divided:
        added = min(left, above[name] - divided[name])
        divided[name], left = divided[name] + added, left - added
    return divided


def allocate(allocation: str, masks: Masks, steps: Counts, flow: Iterable[Masks]) -> Counts:
    """Divide the counts of all steps among the tensors.

    Each tensor keeps at least one weight, but for "synflow", which has the counts of SynFlow. A
    total below the number of tensors goes to the earlier ones, one weight each.

    Args:
        allocation: A name in ALLOCATIONS.
        masks: The weights that are left at the start, name -> bool tensor.
        steps: The number of weights that each step keeps, of all tensors together.
        flow: The masks after each step of SynFlow to the last count; only "synflow" draws them.

    Returns:
        For each step: the name of each tensor, in a tuple -> the number of weights it keeps.

    Raises:
        ValueError: If "uniform+" would keep more than the last count.
    """
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    totals = [sum(groups.values()) for groups in steps]
    most = _counts(masks)
    if allocation == "synflow":
        least = dict.fromkeys(most, 0)
        path = {sum(left.values()): left for left in (most, *map(_counts, flow), least)}
        ideals = partial(along, list(path.items()))
    else:
        least = {name: min(1, left) for name, left in most.items()}
        ideals = partial(RULES[allocation], shapes)

    def counts(x: float) -> dict[str, int]:
        return rounded(ideals(x), least, most)

    if allocation == "uniform+" and totals[-1] < (fixed := sum(counts(1 / FINEST).values())):
        raise ValueError(
            f"allocation 'uniform+' keeps at least {fixed:,} weights, most of them in the first "
            f"convolution and the last linear layer, and this compression leaves {totals[-1]:,}"
        )
    divided = [divide(total, counts) for total in totals]
    return [{(name,): keep for name, keep in step.items()} for step in divided]


def _counts(masks: Masks) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def check_allocation(allocation: str, schedule: str, scope: str) -> None:
    """Refuse an unknown allocation, and arguments that fix the counts themselves.

    Raises:
        ValueError: With one sentence.
    """
    check_choice("allocation", allocation, ALLOCATIONS)
    if schedule == "certified":
        raise ValueError("schedule 'certified' takes no allocation: it fixes the counts itself")
    if scope == "local":
        raise ValueError("scope 'local' takes no allocation: it fixes the counts of each tensor")
