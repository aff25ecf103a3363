"""The order of channels: in a weight, and from one layer to the next."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prune.skeleton.rules import WEIGHTED


class Layout(NamedTuple):
    """The order of channels in a weight: (out, in / groups, ...), or (in, out / groups, ...)."""

    groups: int
    transposed: bool


class Channels(NamedTuple):
    """The input or the result of a layer."""

    tensor: Tensor
    dim: int  # of the channels

    @property
    def number(self) -> int:
        """The number of channels."""
        return self.tensor.shape[self.dim]

    def each(self, values: Tensor) -> Tensor:
        """Return the tensor's shape with one of these values (count,) for all of a channel."""
        shape = [1] * self.tensor.dim()
        shape[self.dim] = -1
        return values.view(shape).expand_as(self.tensor)


class Layer(NamedTuple):
    """One use of a weight as that of a layer."""

    layout: Layout
    read: Channels
    made: Channels


def layer_of(func: Callable[..., Any], weight: Tensor, x: Tensor, y: Tensor) -> Layer | None:
    """Return the layer for the call func(x, weight, ...) = y, None if it is no layer."""
    if func not in WEIGHTED and (func is not torch.matmul or weight.dim() != 2):
        return None
    dim = -1 if weight.dim() == 2 else 1 - weight.dim()
    transposed = func is torch.matmul or "transpose" in func.__name__
    groups = (y if transposed else x).shape[dim] // weight.shape[1]
    return Layer(Layout(groups, transposed), Channels(x, dim), Channels(y, dim))


def keeps_order(made: Channels, read: Channels) -> bool:
    """Return True if the channels of one layer are read by the next one by themselves, in order.

    After flattening, a channel has several inputs of the next layer, side by side. The derivative
    shows it: with a random number for each channel, the flow back to a channel of `made` is its
    number times what it is without them.
    """
    several, rest = divmod(read.number, made.number)
    if rest or not several:
        return False
    drawn = torch.rand(made.number, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    codes = (1 + drawn).to(read.tensor)
    cotangents = torch.ones_like(read.tensor), read.each(codes.repeat_interleave(several))
    try:
        plain, coded = (
            torch.autograd.grad(read.tensor, made.tensor, c, retain_graph=True) for c in cotangents
        )
    except RuntimeError:  # no derivative
        return False
    return torch.allclose(coded[0], plain[0] * made.each(codes), rtol=1e-5)


def by_channel(scores: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return the sums S_in (C_out,) into each output channel and S_out (C_in,) out of each input.

    Args:
        scores: Of a weight, shaped like it.
        layout: Of this weight.
    """
    groups = layout.groups
    grouped = scores.reshape(groups, scores.shape[0] // groups, scores.shape[1], -1)
    first, second = grouped.sum((2, 3)).flatten(), grouped.sum((1, 3)).flatten()
    return (second, first) if layout.transposed else (first, second)
