"""Measure homogeneity: f(c x) = c f(x) for c > 0, as Theorem 1 needs it of each operation."""

from collections.abc import Callable, Mapping, Sequence
from math import frexp, isfinite
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from prune.skeleton.roles import in_place, named

Function = Callable[..., Any]
Given = tuple[tuple[Any, ...], dict[str, Any]]  # the arguments of a function
HOMOGENEOUS = 1e-9  # the largest defect; usually 0, because powers of two scale without rounding
SCALES = (2.0**-20, 2.0**20)  # softmax is almost a mean at the first, ReLU6 is flat at the second

CHOICES = named("where", "masked_fill")


def floating(out: object) -> list[Tensor]:
    """Return the tensors of real or complex numbers in the result of a function."""
    return [
        t
        for t in tree_leaves(out)
        if isinstance(t, Tensor) and (t.is_floating_point() or t.is_complex())
    ]


def writes(func: Function) -> bool:
    """Return True for a function that writes into its first argument."""
    return func is Tensor.__setitem__ or in_place(func)


def results_of(func: Function, args: Sequence[Any], out: object) -> list[Tensor]:
    """Return the floating results: those returned, or the argument that was written into."""
    return floating(args[:1] if out is None and writes(func) else out)


@torch.no_grad()
def at_scales(func: Function, given: Given, inputs: list[Tensor]) -> list[tuple[float, Any]]:
    """Return (c, func of its inputs times c) for two powers of two c; scaling does not round.

    The first c brings the largest input between 1/2 and 1. At the large numbers of a dense network
    a unit may be linear that is not at these smaller ones, which pruning leads to. The second c is
    2^20 times smaller.
    """
    peak = max((float(t.abs().max()) for t in inputs if t.numel()), default=float("inf"))
    if not isfinite(peak):
        return []
    to_one = 2.0 ** -max(frexp(peak)[1], -1000)
    factors = (to_one, to_one * 2.0**-20)
    return [(c, called(func, given, {id(t): t * c for t in inputs})) for c in factors]


@torch.no_grad()
def own_defect(func: Function, given: Given, varying: list[Tensor]) -> float:
    """Return the defect of a function at random numbers in place of some tensors.

    They are of both signs, or positive where the function needs that (square root, logarithm).
    Masks, such as x < 6, are random, too.

    Args:
        func: Is called without any mode.
        given: Its arguments.
        varying: The tensors among them that are scaled together.

    Returns:
        The largest |f(c x) - c f(x)| over the largest |c f(x)|; 1 if `func` fails.
    """
    masks = _masks(given) if func in CHOICES else {}
    try:
        for positive in (False, True):
            x = {id(t): _random(t, positive) for t in varying}
            y = called(func, given, x | masks)
            if all(t.isfinite().all() for t in y):
                break
        scaled = [(c, called(func, given, _times(x, c) | masks)) for c in SCALES]
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return 1.0
    return max(gap(y, c, other) for c, other in scaled)


def _random(t: Tensor, positive: bool) -> Tensor:
    drawn = torch.randn(t.shape, generator=torch.Generator().manual_seed(0), dtype=t.dtype)
    return (drawn.abs() if positive else drawn).to(t.device)


def _times(x: dict[int, Tensor], factor: float) -> dict[int, Tensor]:
    return {key: t * factor for key, t in x.items()}


def _masks(given: Given) -> dict[int, Tensor]:
    """Return a random mask for each of those among the arguments, by their ids."""
    masks = [t for t in tree_leaves(given) if isinstance(t, Tensor) and t.dtype == torch.bool]
    return {id(t): _random(t.float(), positive=False) > 0 for t in masks}


def called(func: Function, given: Given, instead: Mapping[int, Tensor]) -> list[Tensor]:
    """Call a function with other tensors than the given ones, by their ids; change none of these.

    Returns:
        Its floating results.
    """
    first = given[0][:1]
    if writes(func) and isinstance(first[0], Tensor):
        written = instead.get(id(first[0]), first[0]).clone()
        instead = {**instead, id(first[0]): written}
    args, kwargs = tree_map(lambda leaf: instead.get(id(leaf), leaf), given)
    return results_of(func, args, func(*args, **kwargs))


@torch.no_grad()
def gap(results: list[Tensor], factor: float, scaled: list[Tensor]) -> float:
    """Return the largest |f(c x) - c f(x)| over the largest |c f(x)|; 0 if numbers overflow."""
    gaps = [0.0]
    for y, other in zip(results, scaled, strict=True):
        if y.numel():
            expected = y * factor
            off, size = float((other - expected).abs().max()), float(expected.abs().max())
            gaps.append(off / (size or 1) if isfinite(off) and isfinite(size) else 0.0)
    return max(gaps)
