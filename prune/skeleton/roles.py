"""The role of a stream in a product, and what all readings of operations use."""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Role(IntEnum):
    """The part of a stream in a product: the higher one is the gate."""

    NONE = 0
    ACTIVATED = 1
    GATE = 2


class Mode(Protocol):
    """The state of a pass: `skeleton.Positive`."""

    roles: Any  # stream -> Role

    def is_stream(self, value: object) -> bool:
        """Return True for a tensor that depends on the input."""

    def role(self, value: Tensor) -> Role:
        """Return the role of a stream."""

    def note(self, func: Callable[..., Any], reading: str) -> None:
        """Count an operation that is read otherwise."""


Rule = Callable[[Mode, Callable[..., Any], Sequence[Any], dict[str, Any]], Any]


def named(*names: str) -> set[Callable[..., Any]]:
    """Return the functions and tensor methods of these names, also those that work in place."""
    owners = (torch, Tensor, F, torch.special, torch.linalg)
    spellings = [
        spelling
        for name in names
        for spelling in (name, f"{name}_", f"__{name}__", f"__r{name}__", f"__i{name}__")
    ]
    found = {getattr(owner, s) for owner in owners for s in spellings if hasattr(owner, s)}
    return {func for func in found if callable(func)}


def in_place(func: Callable[..., Any]) -> bool:
    """Return True for a function that writes into its first argument."""
    name = func.__name__
    return (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def result_in(func: Callable[..., Any], args: Sequence[Any], value: Tensor) -> Tensor:
    """Return the value; write it into the first argument if `func` does."""
    return args[0].copy_(value) if in_place(func) and args[0] is not value else value


def like(x: Tensor, other: Any) -> Tensor:
    """Return a copy of x, repeated as if another value was added to it."""
    shape = x.shape
    if isinstance(other, Tensor):
        shape = torch.broadcast_shapes(x.shape, other.shape)
    return x.expand(shape).clone()
