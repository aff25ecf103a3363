"""Linear and convolutional layers as one product, and the flow at both of its ends.

y = x @ theta.T with a row of x for each position: the inputs of a linear layer, the patches under
a convolution's kernel. So dR/dtheta = (dR/dy).T @ x, flow out times flow in (Eq. 6), and can be
formed for a few rows or entries of theta at a time; no pass needs to hold it all.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune.matrices import Matrix


class Gradient(NamedTuple):
    """dR/dtheta = above.T @ below + rest, of one matrix (m, n)."""

    above: Tensor  # (positions, m) dR/dy
    below: Tensor  # (positions, n) x
    rest: Tensor | None  # (m, n), of uses that are no product known here

    def rows(self, part: slice) -> Tensor:
        """Some rows of it."""
        product = self.above[:, part].T @ self.below
        return product if self.rest is None else product.add_(self.rest[part])

    def at(self, row: Tensor, column: Tensor) -> Tensor:
        """The entries at (row, column), both (k,)."""
        above, below = self.above.T.contiguous(), self.below.T.contiguous()
        product = (above.index_select(0, row) * below.index_select(0, column)).sum(1)
        return product if self.rest is None else product + self.rest[row, column]


class Products(TorchFunctionMode):
    """Does the products of the matrices, and notes where their gradients will be found."""

    def __init__(self, weights: Mapping[str, Tensor], matrices: Mapping[str, Matrix]):
        """`weights` are the tensors that the network is given; each is known by its identity."""
        super().__init__()
        self.matrices = {id(weights[name]): (name, matrix) for name, matrix in matrices.items()}
        self.uses: dict[str, list[tuple[Tensor, GradientEdge]]] = {name: [] for name in matrices}
        self.layers = {F.linear: self.linear, F.conv2d: self.conv2d}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        layer = self.layers.get(func)
        result = NotImplemented if layer is None else layer(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if result is NotImplemented else result

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None):
        if id(weight) not in self.matrices:
            return NotImplemented
        y = self.product(input, weight)
        return y if bias is None else y + bias

    def conv2d(self, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        if id(weight) not in self.matrices or groups > 1 or input.dim() != 4:
            return NotImplemented
        if isinstance(padding, str):
            return NotImplemented
        window = (weight.shape[2:], dilation, padding, stride)
        patches = F.unfold(input, *window).transpose(1, 2).contiguous()  # (batch, positions, n)
        y = self.product(patches, weight).transpose(1, 2)
        y = y.unflatten(2, _positions(input.shape[2:], *window))
        return y if bias is None else y + bias.view(-1, 1, 1)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """x (..., n) @ theta.T, noted."""
        name, matrix = self.matrices[id(weight)]
        x = x if matrix.columns is None else x[..., matrix.columns]
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = F.linear(x, matrix.theta)
        self.uses[name].append((x.detach(), get_gradient_edge(y)))
        if matrix.rows is None:
            return y
        return y.new_zeros(*y.shape[:-1], matrix.shape[0]).index_copy(-1, matrix.rows, y)

    def gradients(self, R: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Gradient]:
        """dR/dtheta of every matrix, after the network has run."""
        edges = [edge for uses in self.uses.values() for _, edge in uses]
        leaves = [weights[name] for name in self.uses]
        found = iter(torch.autograd.grad(R, [*edges, *leaves], allow_unused=True))
        ends = {name: [(next(found), x) for x, _ in uses] for name, uses in self.uses.items()}
        return {name: _gradient(ends[name], self.matrices[id(weights[name])][1], next(found)) for name in self.uses}


def _gradient(ends: list[tuple[Tensor | None, Tensor]], matrix: Matrix, rest: Tensor | None):
    """Positions of all uses in one; a use that R does not depend on has no dR/dy."""
    m, n = matrix.theta.shape
    above = [dy.flatten(0, -2) for dy, _ in ends if dy is not None]
    below = [x.flatten(0, -2) for dy, x in ends if dy is not None]
    none = matrix.theta.new_empty(0, 1)
    return Gradient(
        torch.cat(above) if above else none.expand(0, m),
        torch.cat(below) if below else none.expand(0, n),
        None if rest is None else rest.reshape(m, n),
    )


def _positions(size, kernel, dilation, padding, stride) -> list[int]:
    """Height and width of a convolution's output."""
    d, p, s = (v if isinstance(v, tuple) else (v, v) for v in (dilation, padding, stride))
    return [
        (size[i] + 2 * p[i] - d[i] * (kernel[i] - 1) - 1) // s[i] + 1 for i in range(2)
    ]
