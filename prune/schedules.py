"""Schedules: the number of weights that each step keeps. All counts are exact integers."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil, inf
from numbers import Rational
from typing import Any

from torch import Tensor

Counts = list[dict[tuple[str, ...], int]]  # for each step: names of tensors -> weights they keep

MARGIN = 1e-9  # part of R that certified leaves, so that rounding cannot close the last path
ROUNDING = 1e-12  # more than the relative error of N rho^(-k/n) in float64


def _exact(compression: float) -> Fraction:
    """Return compression as a fraction; refuse numbers below 1, inf and NaN."""
    if not 1 <= compression < inf:
        raise ValueError(f"compression must be a number of at least 1, not {compression}")
    if isinstance(compression, Rational):  # int: a NumPy integer would overflow in a power
        return Fraction(int(compression.numerator), int(compression.denominator))
    return Fraction(float(compression))


def target(size: int, compression: float) -> int:
    """Return ceil(N / rho), the number of weights that the last step of each schedule keeps.

    Args:
        size: N, the number of prunable weights.
        compression: rho >= 1.

    Raises:
        ValueError: If compression is below 1, or so high that not one of the weights is left.
    """
    if _exact(compression) > size:
        raise ValueError(
            f"compression {float(compression):g} leaves less than one of {size:,} weights; "
            f"at most {size:,} is possible"
        )
    return ceil(size / _exact(compression))


def exponential(size: int, compression: float, step: int, steps: int) -> int:
    """Return ceil(N rho^(-k/n)) for step k of n (Algorithm 1, line 5, and App. 11).

    That is the least integer m with m^n rho^k >= N^n. A floating-point power leaves one candidate
    in most cases. Where rounding leaves several, exact powers decide; these have thousands of
    digits.

    Args:
        size: N, the number of weights.
        compression: rho >= 1.
        step: k, from 1 to n.
        steps: n >= 1.

    Raises:
        ValueError: If compression is not a number of at least 1.
    """
    p, q = _exact(compression).as_integer_ratio()
    guess = size / float(compression) ** (step / steps)
    low, high = ceil(guess * (1 - ROUNDING)), ceil(guess * (1 + ROUNDING))

    def enough(m: int) -> bool:
        return m**steps * p**step >= size**steps * q**step

    return low + bisect_left(range(low, high), True, key=enough)


def linear(size: int, compression: float, step: int, steps: int) -> int:
    """Return ceil(N (1 - (1 - 1/rho) k/n)): each step removes the same number of weights.

    This is the schedule of the authors' code. The rho_k = k rho / n of App. 11 would start below 1.
    Arguments and errors are those of `exponential`.
    """
    return ceil(size * (1 - (1 - 1 / _exact(compression)) * Fraction(step, steps)))


class CertifiedStop(ValueError):
    """The removal of any one more weight would close the last path.

    Attributes:
        reached: The number of weights that are left.
    """

    def __init__(self, message: str, reached: int):
        super().__init__(message)
        self.reached = reached


SCOPES = ("global", "local")
SCHEDULES: dict[str, Callable[[int, Any, int, int], int]] = {
    "exponential": exponential,
    "linear": linear,
}


def counts_of_steps(
    sizes: Mapping[str, int], compression: float, steps: int, schedule: str, scope: str
) -> Counts:
    """Return the number of weights that each step keeps (Algorithm 1, line 5).

    Args:
        sizes: Number of weights of each prunable tensor, by name.
        compression: rho >= 1.
        steps: n >= 1.
        schedule: A name in SCHEDULES.
        scope: "global" counts all tensors together, "local" each tensor by itself.

    Returns:
        For each step: names of tensors -> the number of weights that these keep together.

    Raises:
        ValueError: If an argument is not allowed.
    """
    check_choice("schedule", schedule, (*SCHEDULES, "certified"))
    check_choice("scope", scope, SCOPES)
    if steps < 1 or steps != int(steps):
        raise ValueError(f"steps must be a whole number of at least 1, not {steps}")
    n = int(steps)  # a NumPy integer would overflow in a power
    groups = [tuple(sizes)] if scope == "global" else [(name,) for name in sizes]
    total = {names: sum(sizes[name] for name in names) for names in groups}
    return [
        {names: SCHEDULES[schedule](N, compression, k, n) for names, N in total.items()}
        for k in range(1, n + 1)
    ]


def counts_from(
    masks: Mapping[str, Tensor], compression: float, steps: int, schedule: str, scope: str
) -> Counts:
    """Return the counts of each step for masks to go on from.

    Those of full masks are `counts_of_steps`. Others go from the A weights that are left to the
    goal ceil(N / rho) by the same schedule: step k of n keeps ceil(A (goal / A)^(k/n)).

    Args:
        masks: name -> bool tensor, True = kept so far.
        compression: rho >= 1, of all N entries.
        steps: n >= 1.
        schedule: A name in SCHEDULES.
        scope: A name in SCOPES.

    Raises:
        ValueError: If an argument is not allowed, or fewer weights are left than the goal.
    """
    sizes = {name: mask.numel() for name, mask in masks.items()}
    counts = counts_of_steps(sizes, compression, steps, schedule, scope)
    alive = {name: int(mask.sum()) for name, mask in masks.items()}
    if alive == sizes:
        return counts
    for names, goal in counts[-1].items():
        left = sum(alive[name] for name in names)
        if left < goal:
            raise ValueError(
                f"compression {float(compression):g} keeps {goal:,} weights, and `masks` leave "
                f"{left:,}{'' if len(counts[-1]) == 1 else f' of {names[0]}'}"
            )
    function = SCHEDULES[schedule]
    return [
        {
            names: function(left, Fraction(left, goal), k, len(counts)) if left else 0
            for names, goal in counts[-1].items()
            for left in [sum(alive[name] for name in names)]
        }
        for k in range(1, len(counts) + 1)
    ]


def check_choice(what: str, given: str, allowed: tuple[str, ...]) -> None:
    """Check an argument.

    Raises:
        ValueError: Unless `given` is one of `allowed`; it names the argument, `what`.
    """
    if given not in allowed:
        raise ValueError(f"{what} {given!r} is unknown; choose from {', '.join(allowed)}")


def check_removal(before: int, after: int, goal: int, size: int) -> None:
    """Check that a step of certified, on its way to `goal` weights, removed at least one.

    Args:
        before: The number of weights before the step.
        after: The number of weights after it.
        goal: The number of weights to reach.
        size: N, the number of prunable weights.

    Raises:
        CertifiedStop: If `after` equals `before`.
    """
    if after == before:
        raise CertifiedStop(
            f"certified stops at {before:,} weights, short of {goal:,}: removing any one more "
            f"would close the last path; compression {size / before:g} can be reached",
            before,
        )
