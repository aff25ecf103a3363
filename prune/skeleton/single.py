"""The readings of operations on one stream: activations, gates, normalisations, whole layers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prune.skeleton.attention import ATTENTION
from prune.skeleton.normalisations import NORMALISATIONS
from prune.skeleton.recurrent import RECURRENT
from prune.skeleton.roles import Mode, Role, in_place


def activation(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Read a pointwise activation as ReLU."""
    mode.note(func, "ReLU")
    return _activated(mode, args, kwargs, Role.ACTIVATED)


def gate(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Read a sigmoid or softmax as ReLU, until it multiplies another stream."""
    return _activated(mode, args, kwargs, Role.GATE)


def _activated(mode: Mode, args: Sequence[Any], kwargs: dict[str, Any], role: Role) -> Tensor:
    # A copy: the model may add to it in place, and the backward pass of ReLU reads its own result.
    y = F.relu(args[0] if args else kwargs["input"]).clone()
    mode.roles[y] = max(role, mode.role(args[0]) if args else role)
    return y


def relu(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Keep a homogeneous activation."""
    y = func(*args, **kwargs)
    mode.roles[y] = Role.ACTIVATED
    return y


def identity(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a sign or a rounding as nothing."""
    x = args[0] if args else kwargs["input"]
    return x if in_place(func) else x.clone()


def power(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Read a power as ReLU, or as a gate if the exponent is negative."""
    exponent = args[1] if len(args) > 1 else kwargs["exponent"]
    if not mode.is_stream(args[0]):
        return gate(mode, func, (exponent,), {})
    down = isinstance(exponent, int | float) and exponent < 0
    return (gate if down else activation)(mode, func, args, {})


def glu(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Read a gated linear unit as its first half: the gate is open."""
    mode.note(func, "an open gate")
    dim = args[1] if len(args) > 1 else kwargs.get("dim", -1)
    return args[0].chunk(2, dim)[0].clone()


def normalise(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Read F.normalize as nothing, and of weights as a division by their norm as it is."""
    x = args[0] if args else kwargs["input"]
    if mode.is_stream(x):
        return x.clone()
    norm = func(x.detach(), *args[1:], **kwargs)
    return x * torch.where(x.detach() == 0, 0, norm / x.detach())


def normalisation(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a normalisation as its scale."""
    return NORMALISATIONS[func](*args, **kwargs)


def recurrent(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read a recurrent layer: gates open, initial states that are no streams 0."""
    mode.note(func, "open gates")

    def read(state: Any) -> Any:
        if isinstance(state, Tensor):
            return state if mode.is_stream(state) else torch.zeros_like(state)
        return tuple(map(read, state)) if isinstance(state, list | tuple) else state

    return RECURRENT[func](args[0], read(args[1]), *args[2:], **kwargs)


def attention(mode: Mode, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Read softmax attention as the mean over tokens."""
    mode.note(func, "the mean over tokens")
    return ATTENTION[func](*args, **kwargs)
