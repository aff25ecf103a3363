"""Maps that are held with one pixel for each plateau; plateaus.py explains it with an example."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from prune.fast.products import PerAxis, pair


class Plateau(NamedTuple):
    """The pixel held at index `start` of an axis stands for `length` equal pixels."""

    start: int
    length: int


NONE = Plateau(0, 1)  # each pixel stands for itself


class SmallMap(NamedTuple):
    """A map (1, C, H, W), held with one pixel for its plateau along each axis."""

    image: Tensor  # (1, C, h, w)
    plateaus: tuple[Plateau, Plateau]  # of rows, of columns


def plateau_after_window(
    old: Plateau, kernel: int, stride: int, padding: int, dilation: int
) -> Plateau:
    """Return the plateau of the output of a convolution or pooling, along one axis.

    It holds the windows that lie inside the old plateau entirely.
    """
    reach = dilation * (kernel - 1) + 1
    start = -(-(old.start + padding) // stride)
    last = (old.start + old.length - reach + padding) // stride
    return Plateau(start, last - start + 1) if last > start else NONE


def common(a: Plateau, b: Plateau) -> Plateau:
    """Return the part where both maps are constant."""
    start, end = max(a.start, b.start), min(a.start + a.length, b.start + b.length)
    return Plateau(start, end - start) if end - start > 1 else NONE


def repeated(image: Tensor, dim: int, index: int, copies: int) -> Tensor:
    """Repeat one index of the image along `dim`."""
    if copies == 1:
        return image
    before, one, rest = image.split([index, 1, image.shape[dim] - index - 1], dim)
    sizes = [copies if axis == dim else -1 for axis in range(image.dim())]
    return torch.cat([before, one.expand(sizes), rest], dim)


def narrowed(x: SmallMap, plateaus: tuple[Plateau, Plateau]) -> SmallMap:
    """Hold the same map with smaller plateaus, which lie inside its own."""
    image = x.image
    for dim, old, new in zip((2, 3), x.plateaus, plateaus, strict=True):
        image = repeated(image, dim, old.start, old.length - new.length + 1)
    return SmallMap(image, plateaus)


def alike(maps: Sequence[SmallMap]) -> tuple[list[Tensor], tuple[Plateau, Plateau]]:
    """Return the images of maps held with the plateaus that are common to all, and these."""
    rows, columns = (reduce(common, axis) for axis in zip(*(x.plateaus for x in maps), strict=True))
    return [narrowed(x, (rows, columns)).image for x in maps], (rows, columns)


def added(x: SmallMap, y: SmallMap, alpha: float = 1) -> SmallMap:
    """Return x + alpha y."""
    (a, b), plateaus = alike([x, y])
    return SmallMap(torch.add(a, b, alpha=alpha), plateaus)


def joined(maps: Sequence[SmallMap]) -> SmallMap:
    """Return the channels of all maps as one map."""
    images, plateaus = alike(maps)
    return SmallMap(torch.cat(images, 1), plateaus)


def windowed(x: SmallMap, func: Callable[[Tensor], Tensor], *window: PerAxis) -> SmallMap:
    """Apply a convolution or pooling to x.

    A plateau is repeated just so often that one pixel of the plateau of the output is computed.

    Args:
        x: The map.
        func: Apply the convolution or pooling to an image (1, C, h, w).
        *window: Its kernel, stride, padding and dilation, of rows and columns or of both alike.
    """
    windows = zip(*map(pair, window), strict=True)  # of rows, of columns
    image, plateaus = x.image, []
    for dim, old, (kernel, stride, *shift) in zip((2, 3), x.plateaus, windows, strict=True):
        new = plateau_after_window(old, kernel, stride, *shift)
        image = repeated(image, dim, old.start, old.length - stride * (new.length - 1))
        plateaus.append(new)
    rows, columns = plateaus
    return SmallMap(func(image), (rows, columns))
