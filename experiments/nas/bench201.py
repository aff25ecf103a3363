"""The mean Synaptic Flow of all 15,625 networks of NAS-Bench-201 (Dong and Yang, 2020), at once.

A cell has four nodes and an operation on each of its six edges. The weights of a layer are equal on
average, so all channels are, and a network is a recursion on one image. Each operation treats rows
and columns alike: it is M x M^T for an image x and a small matrix M, with the padding in it.
"""

from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prune.architecture import INITS

SKIP, NONE, CONV3, CONV1, POOL = range(5)
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))  # from node, to node
CELLS = np.array(list(product(range(5), repeat=len(EDGES))), dtype=np.int8)
CHANNELS = (16, 32, 64)  # of the stages
REPEATS = 5  # cells in a stage
PART = 60  # cells at once, so that images stay in the cache
BATCH_NORM = (1 + 1e-5) ** -0.5


class Flows(NamedTuple):
    """One entry for each cell; NaN where no path leads from input to output."""

    log_R: NDArray
    path_length: NDArray

    @property
    def log_score(self) -> NDArray:
        """The log of the mean sum of all scores."""
        return self.log_R + np.log(self.path_length)


def name(cell: Iterable[int]) -> str:
    """Return six digits, one an edge; the operations are numbered as above."""
    return "".join(map(str, cell))


def flows(
    cells: NDArray = CELLS, pixels: int = 32, classes: int = 10, init: str = "paper"
) -> Flows:
    """Return the mean flow of each cell's network, for square images of this size.

    Args:
        cells: (n, 6), an operation for each edge.
        pixels: A multiple of 4.
        classes: The number of outputs.
        init: A name in `prune.architecture.INITS`.

    Raises:
        ValueError: If the image cannot be halved twice.
    """
    if pixels < 4 or pixels % 4:
        raise ValueError(f"NAS-Bench-201 needs images of 4, 8, 12, ... pixels, not {pixels}")
    parts = np.array_split(cells, 1 + len(cells) // PART)
    found = [_flows(part, pixels, classes, init) for part in parts]
    strength, weighted = np.concatenate(found).T
    with np.errstate(divide="ignore", invalid="ignore"):
        length = weighted / strength
    return Flows(np.log(np.where(strength > 0, strength, np.nan)), length)


def _flows(cells: NDArray, pixels: int, classes: int, init: str) -> NDArray:
    """Return R and R times the mean number of weights on a path, (n, 2)."""
    mirror = np.vstack([np.eye(pixels // 2), np.eye(pixels // 2)[::-1]])
    ones = np.stack([np.ones((pixels, pixels)), np.zeros((pixels, pixels))])[None]
    x = _weighted(_applied(_taps(pixels), ones), 3, CHANNELS[0], 9, init) * BATCH_NORM
    # The first stage is the same from both ends of a row: one half stands for it.
    half = pixels // 2
    x = np.broadcast_to(x[..., :half, :half], (len(cells), 2, half, half))
    unfold = mirror
    for stage, channels in enumerate(CHANNELS):
        if stage > 0:
            x, unfold = _reduced(x, unfold, CHANNELS[stage - 1], init), np.eye(pixels >> stage)
        rows = x.shape[-1]
        taps = _taps(pixels >> stage)
        sums, means = ((M @ unfold)[:rows] for M in (taps, taps / taps.sum(1, keepdims=True)))
        for _ in range(REPEATS):
            x = _cell(x, cells, sums, means, channels, init)
    x = x.mean((-2, -1))[..., None, None] * BATCH_NORM
    return classes * _weighted(x, CHANNELS[-1], classes, 1, init)[..., 0, 0]


def _taps(pixels: int, stride: int = 1) -> NDArray:
    """Return the sums of three neighbours with zero padding, (outputs, pixels)."""
    offset = np.arange(pixels) - stride * np.arange(pixels // stride)[:, None]
    return (np.abs(offset) <= 1).astype(float)


def _applied(M: NDArray, x: NDArray) -> NDArray:
    """Return M x M^T for symmetric images: each product is one of large matrices."""
    for _ in range(2):
        x = (x.reshape(-1, x.shape[-1]) @ M.T).reshape(*x.shape[:-1], len(M)).swapaxes(-1, -2)
    return x


def _weighted(x: NDArray, before: int, after: int, kernel: int, init: str) -> NDArray:
    """Return the outputs of equal weights that read the sums x: one more weight on each path."""
    mean, _ = INITS[init]("", (after, before, kernel))
    y = x * (mean * before)
    y[:, 1] += y[:, 0]
    return y


def _cell(
    x: NDArray, cells: NDArray, sums: NDArray, means: NDArray, channels: int, init: str
) -> NDArray:
    """Return the last node of each cell; x is its first one."""
    operations = {
        SKIP: lambda x: x,
        CONV3: lambda x: _weighted(_applied(sums, x), channels, channels, 9, init) * BATCH_NORM,
        CONV1: lambda x: _weighted(x, channels, channels, 1, init) * BATCH_NORM,
        POOL: lambda x: _applied(means, x),
    }
    nodes = [x, *(np.zeros(x.shape) for _ in range(3))]
    for edge, (start, end) in enumerate(EDGES):
        for operation, function in operations.items():
            (chosen,) = np.nonzero(cells[:, edge] == operation)
            if chosen.size:
                nodes[end][chosen] += function(nodes[start][chosen])
    return nodes[-1]


def _reduced(x: NDArray, unfold: NDArray, channels: int, init: str) -> NDArray:
    """Return the residual block of stride 2 between two stages."""
    pixels = len(unfold)
    halves = np.kron(np.eye(pixels // 2), [[0.5, 0.5]])
    branch = _weighted(_applied(_taps(pixels, 2) @ unfold, x), channels, 2 * channels, 9, init)
    branch = _weighted(_applied(_taps(pixels // 2), branch), 2 * channels, 2 * channels, 9, init)
    shortcut = _weighted(_applied(halves @ unfold, x), channels, 2 * channels, 1, init)
    return branch * BATCH_NORM**2 + shortcut


def sizes(cells: NDArray = CELLS, pixels: int = 32, classes: int = 10) -> tuple[NDArray, NDArray]:
    """Return the parameters and the multiplications of each cell's network."""
    convs3, convs1 = (np.sum(cells == kind, axis=1) for kind in (CONV3, CONV1))
    kernels = 9 * convs3 + convs1
    parameters = np.full(len(cells), 3 * 9 * 16 + 2 * 16 + 2 * 64 + 64 * classes + classes)
    products = np.full(len(cells), 3 * 9 * 16 * pixels**2 + 64 * classes)
    for stage, c in enumerate(CHANNELS):
        area = (pixels >> stage) ** 2
        parameters += REPEATS * (kernels * c * c + (convs3 + convs1) * 2 * c)
        products += REPEATS * kernels * c * c * area
        if stage > 0:
            between = (9 * c // 2 + 9 * c + c // 2) * c  # two convolutions and the shortcut
            parameters += between + 2 * 2 * c
            products += between * area
    return parameters, products
