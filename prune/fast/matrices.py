"""A prunable weight as the matrix of its layer, without the rows and columns that are empty.

Rows are outputs. Columns are inputs; in a convolution, each tap of the kernel has its own. SynFlow
empties whole rows and columns, and a product without them takes less time.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prune.masks import without

LOOK = 0.9  # look for empty rows and columns when this part is left of the weights at the last look


@dataclass(frozen=True)
class Matrix:
    """The remaining part of one weight. Entries count row by row, in the order of the weight."""

    shape: torch.Size  # of the weight
    theta: Tensor  # (m, n) |theta|, 0 where pruned; `drop_` changes it in place
    mask: Tensor  # (m, n) bool, True = kept
    kept: int
    looked: int  # weights at the last look
    rows: Tensor | None = None  # (m,) positions of these rows in the whole matrix; None: all
    columns: Tensor | None = None  # (n,)


def matrix_of(weight: Tensor, mask: Tensor, dtype: torch.dtype) -> Matrix:
    """Return the whole weight as a matrix, with theta in `dtype`."""
    mask = mask.reshape(len(mask), -1)
    theta = weight.detach().abs().to(dtype).reshape(mask.shape)
    theta.masked_fill_(mask.logical_not(), 0)
    kept = int(mask.count_nonzero())  # sum() would copy the mask as int64
    return Matrix(weight.shape, theta, mask, kept, kept)


def drop_(matrix: Matrix, pruned: Tensor) -> Matrix:
    """Prune the entries `pruned` (k,): a new mask, but theta is changed in place."""
    matrix.theta.view(-1).index_fill_(0, pruned, 0)
    return replace(matrix, mask=without(matrix.mask, pruned), kept=matrix.kept - len(pruned))


def cut_down(matrix: Matrix) -> Matrix:
    """Leave out empty rows and columns, once they are many enough for that to pay."""
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
    """Return a tensor shaped like the weight, with `entries` (m, n) in place and 0 elsewhere."""
    if matrix.rows is None:
        return entries.reshape(matrix.shape)
    whole = entries.new_zeros(matrix.shape).flatten(1)
    whole[matrix.rows[:, None], matrix.columns] = entries
    return whole.view(matrix.shape)


def full_mask(matrix: Matrix) -> Tensor:
    """Return the mask, shaped like the weight."""
    return spread(matrix, matrix.mask)
