"""The readings of sums, differences, products, divisions and matrix products."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prune.skeleton.attention import mean_einsum, mean_product
from prune.skeleton.roles import Mode, Role, in_place, like, result_in

REVERSED = {"__rtruediv__", "__rdiv__", "__rmatmul__"}  # names of methods that swap operands


def addition(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a sum or difference as a sum of streams; the rest is a shift, read as 0."""
    a, b = args[0], args[1] if len(args) > 1 else kwargs["other"]
    is_a, is_b = mode.is_stream(a), mode.is_stream(b)
    if is_a and is_b:
        alpha = abs(kwargs.get("alpha", 1))
        return a.add_(b, alpha=alpha) if in_place(func) else torch.add(a, b, alpha=alpha)
    if is_a or is_b:
        x, other = (a, b) if is_a else (b, a)
        if in_place(func) and is_a:
            return x
        y = result_in(func, args, like(x, other))
        mode.roles[y] = mode.role(x)
        return y
    weights = [t for t in (a, b) if isinstance(t, Tensor) and t.requires_grad]
    return torch.add(a, b) if weights and "sub" in func.__name__ else func(*args, **kwargs)


def product(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read one of two streams as an open gate, and a constant factor as its magnitude."""
    a, b = args[0], args[1] if len(args) > 1 else kwargs["other"]
    is_a, is_b = mode.is_stream(a), mode.is_stream(b)
    if is_a and is_b:
        kept, opened = (b, a) if _opens(mode, a, b) else (a, b)
        if kept is not opened:
            mode.note(func, "an open gate")
        y = result_in(func, args, like(kept, opened))
        mode.roles[y] = min(mode.role(a), mode.role(b))
        return y
    x, other = (a, b) if is_a else (b, a)
    factor = abs(other) if isinstance(other, int | float) else other
    if isinstance(other, Tensor) and other.dtype != torch.bool:
        factor = other if other.requires_grad and not other.is_complex() else other.abs()
    if in_place(func) and is_a:
        return x.mul_(factor)
    y = result_in(func, args, x * factor)
    mode.roles[y] = mode.role(x)
    return y


def _opens(mode: Mode, a: Tensor, b: Tensor) -> bool:
    """Return True if the first of two factors is the gate."""
    if mode.role(a) == mode.role(b):
        return a.numel() < b.numel()
    return mode.role(a) > mode.role(b)


def quotient(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a divisor that is a stream as 1, and any other as its magnitude."""
    a, b = args[0], args[1] if len(args) > 1 else kwargs["other"]
    derived = any(isinstance(t, Tensor) and t.requires_grad for t in (a, b))
    if not derived or kwargs.get("rounding_mode") is not None:
        return func(*args, **kwargs)
    if func.__name__ in REVERSED:
        a, b = b, a
    if mode.is_stream(b):
        if not mode.is_stream(a):  # 1 / x: a gate for what it multiplies
            y = like(b, a)
            mode.roles[y] = Role.GATE
            return y
        if a is not b:
            mode.note(func, "a divisor of 1")
        return result_in(func, args, like(a, b))
    divisor = b.detach().abs() if isinstance(b, Tensor) else abs(b)
    return result_in(func, args, a / divisor)


def matmul(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a product of two streams as the mean of one over the positions of the other."""
    a: Any = args[0]
    b: Any = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("mat2"))
    if func.__name__ in REVERSED:
        a, b = b, a
    if not (mode.is_stream(a) and mode.is_stream(b)):
        return torch.matmul(_magnitude(mode, a), _magnitude(mode, b))
    mode.note(func, "a mean")
    if mode.role(b) > mode.role(a):  # values @ attention
        return mean_product(b.transpose(-1, -2), a.transpose(-1, -2)).transpose(-1, -2)
    return mean_product(a, b)


def _magnitude(mode: Mode, x: Tensor) -> Tensor:
    return x if x.requires_grad or x.is_complex() else x.abs()


def einsum(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a product of two streams as the mean of one over the positions of the other."""
    equation, operands = args[0], list(args[1:])
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return func(*args, **kwargs)
    a, b = operands
    if not (mode.is_stream(a) and mode.is_stream(b)):
        return func(equation, _magnitude(mode, a), _magnitude(mode, b))
    mode.note(func, "a mean")
    if mode.role(b) > mode.role(a):
        inputs, arrow, result = equation.partition("->")
        first, second = inputs.split(",")
        return mean_einsum(f"{second},{first}{arrow}{result}", b, a)
    return mean_einsum(equation, a, b)


def addmm(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a sum with a matrix product: the summand is a shift unless it is a stream."""
    named = [kwargs[key] for key in FACTORS if key in kwargs]
    x, a, b = args if len(args) == 3 else (*args, *named)
    y = matmul(mode, func, (a, b), {}) * abs(kwargs.get("alpha", 1))
    return y + x * abs(kwargs.get("beta", 1)) if mode.is_stream(x) else y


FACTORS = ("input", "mat1", "mat2", "batch1", "batch2")  # of addmm and baddbmm, in their order


def weighted(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Leave out the bias of a linear or convolutional layer."""
    if len(args) > 2 and args[2] is not None:
        args = (*args[:2], None, *args[3:])
    return func(*args, **{**kwargs, "bias": None} if "bias" in kwargs else kwargs)
