"""Numbers for the channels of a network, for `compact`; tensors of numbers in place of values.

A tensor of numbers has the shape of the tensor that it stands for. Equal entries share memory.
"""

from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

ALWAYS = 0  # the number of all channels that nothing can remove


class Layer(NamedTuple):
    """A layer that can be narrowed, with the numbers of the channels that it reads and returns."""

    node: fx.Node
    module: nn.Module
    columns: Tensor  # (inputs,)
    rows: Tensor  # (outputs,)
    reads: Tensor  # (groups, outputs, inputs) bool; a constant that can be folded is not read
    constants: Tensor  # (inputs,) values of constants that can be folded, else 0


class Norm(NamedTuple):
    """A batch normalisation, with the numbers of its channels."""

    module: nn.Module
    columns: Tensor


class Mix(NamedTuple):
    """Channels that several others, at the same place in their tensors, are mixed to."""

    parts: Tensor  # (tensors, channels)
    rows: Tensor  # (channels,)


class Channels:
    """All channels of a network.

    Attributes:
        constant: (count,) bool, True = the same value for each input, at each position.
        needed: Numbers of channels that an operation without a rule reads.
    """

    def __init__(self, folds: bool) -> None:
        """Begin with the number 0, for all channels that nothing can remove.

        Args:
            folds: False = no channel counts as constant, since training may change its value.
        """
        self._folds = folds
        self.constant = torch.tensor([False])
        self.needed = [torch.tensor([ALWAYS])]
        self._parents = [ALWAYS]

    def new(self, constant: Tensor) -> Tensor:
        """Return numbers of new channels, as many as there are flags."""
        start = len(self._parents)
        self.constant = torch.cat([self.constant, constant & self._folds])
        self._parents += range(start, start + len(constant))
        return torch.arange(start, start + len(constant))

    def tie(self, left: Tensor, right: Tensor) -> None:
        """Let channels stay or go together."""
        for a, b in torch.stack([left.flatten(), right.flatten()], 1).unique(dim=0).tolist():
            first, second = sorted((self._root(a), self._root(b)))
            self._parents[second] = first

    def tie_along(self, numbers: Tensor, skip: int = 0) -> None:
        """Let a tensor be narrowed along one axis only, the widest from axis `skip` on."""
        if numbers.numel() > 1:
            small = thin(numbers)
            rows = small.movedim(widest(small, skip), -1).flatten(0, -2).unique(dim=0)
            self.tie(rows[1:], rows[:1].expand_as(rows[1:]))

    def need(self, numbers: Tensor) -> None:
        """Keep channels that an operation without a rule reads."""
        self.needed.append(numbers.unique())

    def roots(self) -> Tensor:
        """Return a number for each channel: that of the first channel that it is tied to."""
        return torch.tensor([self._root(number) for number in range(len(self._parents))])

    def _root(self, number: int) -> int:
        """Follow the ties to the first channel, and shorten the way for the next time."""
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


def thin(numbers: Tensor) -> Tensor:
    """Reduce to 1 the size of each axis along which the numbers do not change."""
    for axis in range(numbers.dim() if numbers.numel() else 0):
        first = numbers.narrow(axis, 0, 1)
        if numbers.stride(axis) == 0 or bool((numbers == first).all()):
            numbers = first
    return numbers.clone()


def shared(numbers: Tensor) -> Tensor:
    """Return the same tensor in less memory."""
    return thin(numbers).expand(numbers.shape)


def widest(small: Tensor, skip: int = 0) -> int:
    """Return the axis with the most numbers; of equal ones the last."""
    return max(range(skip, small.dim()), key=lambda axis: (small.size(axis), axis))


def along(numbers: Tensor, axis: int) -> Tensor | None:
    """Return the numbers along an axis; None if they change along another one."""
    small, size = thin(numbers), numbers.size(axis)
    return small.flatten().expand(size) if small.numel() == small.size(axis) else None


def spread(vector: Tensor, axis: int, shape: torch.Size) -> Tensor:
    """Return a tensor of a shape that has the numbers along an axis."""
    sizes = [1] * len(shape)
    sizes[axis] = -1
    return vector.reshape(sizes).expand(shape)


def narrowed(numbers: Tensor, stays: Tensor) -> Tensor:
    """Remove the channels that do not stay, along the widest axis."""
    axis, kept = remaining(numbers, stays)
    if kept is None:
        return numbers
    shape = [*numbers.shape]
    shape[axis] = len(kept)
    small = thin(numbers)
    return small.index_select(axis, kept).expand(shape)


def remaining(numbers: Tensor, stays: Tensor) -> tuple[int, Tensor | None]:
    """Return the axis along which a tensor is narrowed, and the places that stay; None for all."""
    small = thin(numbers)
    axis = widest(small) if numbers.numel() > 1 else 0
    if numbers.numel() <= 1 or small.size(axis) == 1:
        return axis, None
    return axis, stays[small.movedim(axis, 0).flatten(1)[:, 0]].nonzero().flatten()
