"""A prunable weight as the matrix that its layer multiplies by, cut down to what still lives.

Rows are outputs; columns are inputs, in a convolution each tap of the kernel by itself. SynFlow
empties whole rows and columns, and without them the same product is done sooner.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

LOOK = 0.9  # look for empty rows and columns once this part is left of what lived at the last look


@dataclass(frozen=True)
class Matrix:
    """What lives of one weight. Entries count row by row, in the order of the weight's."""

    shape: torch.Size  # of the weight
    theta: Tensor | None  # (m, n) |theta|, 0 where pruned; `without` changes it in place
    mask: Tensor  # (m, n) bool, True = kept
    kept: int
    looked: int  # how many were kept at the last look
    rows: Tensor | None = None  # (m,) which rows of the whole matrix these are; None: all
    columns: Tensor | None = None  # (n,)


def matrix_of(weight: Tensor, mask: Tensor, dtype: torch.dtype | None) -> Matrix:
    """All of a weight; without theta if `dtype` is None."""
    theta, mask = None, mask.reshape(len(mask), -1)
    if dtype is not None:
        theta = weight.detach().abs().to(dtype).reshape(mask.shape)
        theta.masked_fill_(mask.logical_not(), 0)
    kept = int(mask.count_nonzero())  # sum() would copy the mask as int64
    return Matrix(weight.shape, theta, mask, kept, kept)


def without(matrix: Matrix, pruned: Tensor) -> Matrix:
    """The matrix without its entries `pruned` (k,)."""
    mask = matrix.mask.clone()
    mask.view(-1).index_fill_(0, pruned, False)
    if matrix.theta is not None:
        matrix.theta.view(-1).index_fill_(0, pruned, 0)
    return replace(matrix, mask=mask, kept=matrix.kept - len(pruned))


def cut_down(matrix: Matrix) -> Matrix:
    """Leave out empty rows and columns, once enough has died for that to pay."""
    if matrix.kept >= LOOK * matrix.looked:
        return matrix
    alive = matrix.mask.view(torch.uint8)  # amax() of bytes is far quicker than any()
    rows, columns = (alive.amax(dim).nonzero().squeeze(1) for dim in (1, 0))
    if len(rows) * len(columns) > LOOK * alive.numel():
        return replace(matrix, looked=matrix.kept)
    place = (rows[:, None] * alive.shape[1] + columns).view(-1)

    def cut(x: Tensor) -> Tensor:  # x[rows[:, None], columns], in half the time
        return x.view(-1).index_select(0, place).view(len(rows), len(columns))

    return Matrix(
        matrix.shape,
        cut(matrix.theta),
        cut(matrix.mask),
        kept=matrix.kept,
        looked=matrix.kept,
        rows=rows if matrix.rows is None else matrix.rows[rows],
        columns=columns if matrix.columns is None else matrix.columns[columns],
    )


def spread(matrix: Matrix, entries: Tensor) -> Tensor:
    """Entries (m, n) at their places in a tensor shaped like the weight, 0 elsewhere."""
    if matrix.rows is None:
        return entries.reshape(matrix.shape)
    whole = entries.new_zeros(matrix.shape).flatten(1)
    whole[matrix.rows[:, None], matrix.columns] = entries
    return whole.view(matrix.shape)


def full_mask(matrix: Matrix) -> Tensor:
    """The mask, shaped like the weight."""
    return spread(matrix, matrix.mask)
