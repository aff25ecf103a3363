"""Compute linear and convolutional layers as one product y = x theta^T.

x has one row for each position: the inputs of a linear layer, or the patch under the kernel of a
convolution. Then dR/dtheta = (dR/dy)^T x, flow out times flow in (Eq. 6). It can be formed for a
few rows or entries of theta at a time, so the backward pass does not write it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F

from prune.fast.matrices import Matrix, spread

PerAxis = int | tuple[int, ...]  # an option of a convolution: of both axes, or of rows and columns


class Gradient(NamedTuple):
    """dR/dtheta = flow_out flow_in^T + rest of one matrix (m, n)."""

    flow_out: Tensor  # (m, positions) dR/dy
    flow_in: Tensor  # (n, positions) x
    rest: Tensor | None  # (m, n) from uses of the weight that are no product known here

    def rows(self, part: slice) -> Tensor:
        """Return the rows in `part`, (k, n)."""
        product = self.flow_out[part] @ self.flow_in.T
        return product if self.rest is None else product.add_(self.rest[part])

    def at(self, row: Tensor, column: Tensor) -> Tensor:
        """Return the entries (k,) at (row, column), both (k,)."""
        flow_out, flow_in = self.flow_out.index_select(0, row), self.flow_in.index_select(0, column)
        product = flow_out.mul_(flow_in).sum(1)
        return product if self.rest is None else product + self.rest[row, column]

    def bound(self) -> float:
        """Return an upper bound of the entries, none of which is negative.

        While it is finite, so are the scores: each is at most R. It takes no pass over (m, n).
        """
        ends = [x.amax(0) for x in (self.flow_out, self.flow_in) if len(x)]
        product = torch.dot(*ends).item() if len(ends) == 2 else 0.0
        return product + (0.0 if self.rest is None else self.rest.sum().item())


class Products:
    """Compute layers of the given weights as products, and keep both ends of each product.

    A weight used in another way (in a grouped or transposed convolution, or in arithmetic of the
    model's own) is left to autograd, whose result is `Gradient.rest`.
    """

    def __init__(self, given: Mapping[str, Tensor], matrices: Mapping[str, Matrix]):
        """Take the tensors that the network gets for each weight; they are found by identity."""
        self.given, self.matrices = given, matrices
        self.names = {id(given[name]): name for name in matrices}
        self.uses: dict[str, list[tuple[Tensor, GradientEdge]]] = {name: [] for name in matrices}

    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return func(*args, **kwargs), or the product in its place."""
        layer = {F.linear: self.linear, F.conv2d: self.conv2d}.get(func)
        y = None if layer is None else layer(*args, **kwargs)
        return func(*map(self.whole, args), **kwargs) if y is None else y

    def whole(self, value: object) -> object:
        """Return all of theta for the stand-in of a weight that was cut down, else the value."""
        name = self.names.get(id(value))
        if name is None or self.matrices[name].rows is None:
            return value
        return spread(self.matrices[name], self.matrices[name].theta)

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
        """Return F.linear of these arguments, (..., m); None if the weight is not among ours."""
        if id(weight) not in self.names:
            return None
        name = self.names[id(weight)]
        y = self.product(living(input, -1, self.matrices[name]), name)
        return y if bias is None else y + bias

    def conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: PerAxis = 1,
        padding: PerAxis | str = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
    ) -> Tensor | None:
        """Return F.conv2d of these arguments, (batch, m, height, width).

        None if the weight is not among ours, or if this convolution is no product: with groups,
        with padding given as a word, or of an image without a batch.
        """
        if id(weight) not in self.names or isinstance(padding, str) or groups > 1:
            return None
        if input.dim() != 4:
            return None
        kernel, dilation, padding, stride = map(pair, (weight.shape[2:], dilation, padding, stride))
        name = self.names[id(weight)]
        patches = F.unfold(input, kernel, dilation, padding, stride)  # (batch, n, positions)
        patches = living(patches, 1, self.matrices[name]).transpose(1, 2)
        y = self.product(patches.contiguous(), name)  # (batch, positions, m)
        size = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, d, p, s in zip(
                input.shape[2:], kernel, dilation, padding, stride, strict=True
            )
        ]
        y = y.transpose(1, 2).unflatten(2, size)
        return y if bias is None else y + bias.view(-1, 1, 1)

    def product(self, x: Tensor, name: str) -> Tensor:
        """Return x (..., n) theta^T, with zeros for rows that were cut, and keep its ends."""
        matrix = self.matrices[name]
        x = x if x.requires_grad else x.detach().requires_grad_()  # else y has no edge
        y = F.linear(x, matrix.theta)
        if y.requires_grad:  # else this part runs without gradients
            self.uses[name].append((x.detach(), get_gradient_edge(y)))
        if matrix.rows is None:
            return y
        return y.new_zeros(*y.shape[:-1], matrix.shape[0]).index_copy(-1, matrix.rows, y)

    def gradients(self, R: Tensor) -> dict[str, Gradient]:
        """Return dR/dtheta of each matrix; R () is a result of the network."""
        edges = [edge for uses in self.uses.values() for _, edge in uses]
        weights = [self.given[name] for name in self.matrices]
        wanted: list[Any] = [*edges, *weights]  # the stubs allow edges or tensors, not both
        found = torch.autograd.grad(R, wanted, allow_unused=True)
        flow_out, rest = iter(found), dict(zip(self.matrices, found[len(edges) :], strict=True))
        return {
            name: self.gradient(name, [(next(flow_out), x) for x, _ in uses], rest[name])
            for name, uses in self.uses.items()
        }

    def gradient(
        self, name: str, ends: list[tuple[Tensor | None, Tensor]], rest: Tensor | None
    ) -> Gradient:
        """Concatenate the positions of all uses of a weight; skip uses that R does not depend on.

        Args:
            name: Of the weight.
            ends: (dR/dy, x) of each use; dR/dy is None where R does not depend on it.
            rest: The gradient that autograd found for uses that are no product.
        """
        theta = self.matrices[name].theta
        used = [(out.flatten(0, -2), x.flatten(0, -2)) for out, x in ends if out is not None]
        flow_out, flow_in = zip(*used, strict=True) if used else ([theta[:, :0].T], [theta[:0]])
        rest = None if rest is None else rest.reshape(theta.shape)
        return Gradient(torch.cat(flow_out).T.contiguous(), torch.cat(flow_in).T.contiguous(), rest)


def living(x: Tensor, dim: int, matrix: Matrix) -> Tensor:
    """Return the entries of x along `dim` that belong to remaining columns of the matrix."""
    return x if matrix.columns is None else x.index_select(dim, matrix.columns)


def pair(value: PerAxis) -> tuple[int, int]:
    """Return an option of a convolution for rows and columns; one number stands for both."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
