"""The readings of operations that join streams, or choose among them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prune.skeleton.roles import Mode


def join(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read what does not depend on the input as 0 where tensors are joined."""
    given = args[0] if args else kwargs.pop("tensors")
    parts = [t if mode.is_stream(t) else torch.zeros_like(t) for t in given]
    return func(parts, *args[1:], **kwargs)


def where(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a choice of something that does not depend on the input as 0."""

    def read(value: Any) -> Any:
        if mode.is_stream(value) or (isinstance(value, Tensor) and value.dtype == torch.bool):
            return value
        return torch.zeros_like(value) if isinstance(value, Tensor) else 0.0

    return func(*map(read, args), **{key: read(value) for key, value in kwargs.items()})


def assign(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Read what is written into a stream and does not depend on the input as 0."""
    x, index, value = args
    if not mode.is_stream(value):
        value = torch.zeros_like(value) if isinstance(value, Tensor) else 0
    func(x, index, value)


def masked_fill(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read the value that a mask puts in as 0."""
    x, mask = args[0], args[1] if len(args) > 1 else kwargs["mask"]
    if not mode.is_stream(x):
        return func(*args, **kwargs)
    return func(x, mask, 0.0)
