"""A prunable weight as the matrix that its layer multiplies with, cut down to what still lives.

Rows are outputs, columns the inputs or, in a convolution, the taps of its kernel. SynFlow
empties whole rows and columns; a matrix without them gives the same products sooner.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

STALE = 0.8  # cut down once fewer than this part is left of what lived at the last look


@dataclass(frozen=True)
class Matrix:
    """What is left of one weight; entries count row by row, as in the weight."""

    shape: torch.Size  # of the weight
    theta: Tensor  # (m, n) |theta|, 0 where pruned; changed in place
    mask: Tensor  # (m, n) bool
    kept: int
    looked: int  # what was kept when rows and columns were last looked through
    rows: Tensor | None = None  # (m,) which of the weight's rows are here; None: all
    columns: Tensor | None = None  # (n,)


def whole(weight: Tensor, mask: Tensor, dtype: torch.dtype) -> Matrix:
    """All of a weight: |theta| where the mask is True, 0 elsewhere."""
    mask = mask.reshape(len(mask), -1)
    theta = weight.detach().to(dtype).abs().reshape(mask.shape).mul_(mask)
    return Matrix(weight.shape, theta, mask, int(mask.sum()), mask.numel())


def without(matrix: Matrix, removed: Tensor) -> Matrix:
    """The matrix without the entries `removed` (k,), which are 0 in its theta from now on."""
    matrix.theta.view(-1).index_fill_(0, removed, 0)
    mask = matrix.mask.clone()
    mask.view(-1).index_fill_(0, removed, False)
    return replace(matrix, mask=mask, kept=matrix.kept - len(removed))


def cut_down(matrix: Matrix) -> Matrix:
    """Leave out empty rows and columns, if enough has died for that to pay."""
    if matrix.kept >= STALE * matrix.looked:
        return matrix
    alive = matrix.mask.view(torch.uint8)  # its maximum is found sooner than any()
    rows, columns = (alive.amax(dim).nonzero().squeeze(1) for dim in (1, 0))
    if len(rows) * len(columns) > STALE * matrix.mask.numel():
        return replace(matrix, looked=matrix.kept)
    return replace(
        matrix,
        theta=matrix.theta[rows[:, None], columns],
        mask=matrix.mask[rows[:, None], columns],
        looked=matrix.kept,
        rows=rows if matrix.rows is None else matrix.rows[rows],
        columns=columns if matrix.columns is None else matrix.columns[columns],
    )


def spread(matrix: Matrix, entries: Tensor) -> Tensor:
    """`entries` (m, n) at their places in the whole weight, 0 elsewhere."""
    if matrix.rows is None:
        return entries.view(matrix.shape)
    full = entries.new_zeros(matrix.shape[0], matrix.shape.numel() // matrix.shape[0])
    full[matrix.rows[:, None], matrix.columns] = entries
    return full.view(matrix.shape)
