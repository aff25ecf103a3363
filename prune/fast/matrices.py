"""A prunable weight as the matrix of its layer, without the rows and columns that are empty.

Rows are outputs. Columns are inputs; in a convolution, each tap of the kernel has its own. SynFlow
empties whole rows and columns, and a product without them takes less time.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prune.masks import without

AT_ONCE = 2**17  # entries cut out at a time
RECHECK = 0.9  # search empty rows again once this part of the weights at the last search is left


@dataclass(frozen=True)
class Matrix:
    """The remaining part of one weight. Entries are counted row by row, as in the weight."""

    shape: torch.Size  # of the weight
    theta: Tensor  # (m, n) |theta|, 0 where pruned; `drop_` changes it in place
    mask: Tensor  # (m, n) bool, True = kept
    kept: int
    checked: int  # number of kept weights at the last search for empty rows and columns
    rows: Tensor | None = None  # (m,) positions of these rows in the whole matrix; None: all
    columns: Tensor | None = None  # (n,)


def matrix_of(magnitude: Tensor, mask: Tensor) -> Matrix:
    """Return the whole weight as a matrix (m, n).

    Args:
        magnitude: |theta| (m, ...), which is changed; all other axes together are the columns.
        mask: bool, shaped like the weight.
    """
    mask = mask.reshape(len(mask), -1)
    theta = magnitude.reshape(mask.shape)
    theta.masked_fill_(mask.logical_not(), 0)
    kept = int(mask.count_nonzero())  # sum() would copy the mask as int64
    return Matrix(magnitude.shape, theta, mask, kept, kept)


def drop_(matrix: Matrix, pruned: Tensor) -> Matrix:
    """Return the matrix without the entries `pruned` (k,).

    The mask is copied; theta is changed in place, in the given matrix, too.
    """
    matrix.theta.view(-1).index_fill_(0, pruned, 0)
    return replace(matrix, mask=without(matrix.mask, pruned), kept=matrix.kept - len(pruned))


def cut_down(matrix: Matrix) -> Matrix:
    """Return the matrix without its empty rows and columns, once it has enough of them.

    They are searched when the number of weights has fallen to 90 % since the last search, and
    removed if at most 90 % of the matrix remains.
    """
    if matrix.kept >= RECHECK * matrix.checked:
        return matrix
    alive = matrix.mask.view(torch.uint8)  # amax() of bytes is far quicker than any()
    rows, columns = (alive.amax(dim).nonzero().squeeze(1) for dim in (1, 0))
    if len(rows) * len(columns) > RECHECK * alive.numel():
        return replace(matrix, checked=matrix.kept)
    theta, mask = _cut(matrix, rows, columns)
    return Matrix(
        matrix.shape,
        theta,
        mask,
        kept=matrix.kept,
        checked=matrix.kept,
        rows=rows if matrix.rows is None else matrix.rows[rows],
        columns=columns if matrix.columns is None else matrix.columns[columns],
    )


def _cut(matrix: Matrix, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return theta and the mask of these rows and columns, in half the time of x[rows][:, columns].

    Some rows at a time, so that the places of entries take little memory.
    """
    whole = matrix.theta.view(-1), matrix.mask.view(-1)
    cut = [x.new_empty(len(rows) * len(columns)) for x in whole]
    height = max(1, AT_ONCE // max(1, len(columns)))
    for first in range(0, len(rows), height):
        place = (rows[first : first + height, None] * matrix.mask.shape[1] + columns).view(-1)
        for x, y in zip(whole, cut, strict=True):
            start = first * len(columns)
            torch.index_select(x, 0, place, out=y[start : start + len(place)])
    theta, mask = (y.view(len(rows), len(columns)) for y in cut)
    return theta, mask


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
