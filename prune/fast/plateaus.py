"""Run the first layers of an image of ones on a few pixels.

Away from its borders such an image stays constant, because convolution and pooling have the same
window everywhere. This constant part is a plateau. A map is held with one pixel for its plateau,
which is repeated only as far as the next window needs. In one dimension, with a kernel of three
ones and padding 1:

    the map               1 1 1 1 1 1 1     held as  1        (1 stands for 7)
    after the convolution 2 3 3 3 3 3 2     held as  2 3 2    (3 stands for 5)

So the first layers of VGG-19 compute 5 x 5 pixels in place of 224 x 224. Each window that is
computed is a window of the large map, so the values are equal. Autograd adds up the gradients of
all pixels that one pixel stands for.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune.fast.products import pair


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
    """Return the plateau of the output: the windows that lie inside the old plateau entirely."""
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


def added(x: SmallMap, y: SmallMap) -> SmallMap:
    """Return x + y."""
    (rows, columns), (other_rows, other_columns) = x.plateaus, y.plateaus
    plateaus = common(rows, other_rows), common(columns, other_columns)
    return SmallMap(narrowed(x, plateaus).image + narrowed(y, plateaus).image, plateaus)


def windowed(
    x: SmallMap, func: Callable[[Tensor], Tensor], *window: int | tuple[int, ...]
) -> SmallMap:
    """Apply a convolution or pooling to x; `window` is kernel, stride, padding and dilation.

    A plateau is repeated just so often that one pixel of the plateau of the output is computed.
    """
    windows = zip(*map(pair, window), strict=True)  # of rows, of columns
    image, plateaus = x.image, []
    for dim, old, (kernel, stride, *shift) in zip((2, 3), x.plateaus, windows, strict=True):
        new = plateau_after_window(old, kernel, stride, *shift)
        image = repeated(image, dim, old.start, old.length - stride * (new.length - 1))
        plateaus.append(new)
    rows, columns = plateaus
    return SmallMap(func(image), (rows, columns))


# Rules for functions of one map. A rule returns None where it does not hold.


def _pointwise(func, x: SmallMap, *args, **kwargs) -> SmallMap:
    return SmallMap(func(x.image, *args, **kwargs), x.plateaus)


def _conv(func, x: SmallMap, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str):
        return None
    more = (weight, bias, stride, padding, dilation, groups)
    return windowed(
        x, lambda image: func(image, *more), tuple(weight.shape[2:]), stride, padding, dilation
    )


def _max_pool(
    func, x: SmallMap, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_
):  # with return_indices, F.max_pool2d calls another function
    if ceil_mode:
        return None
    window = (kernel_size, stride or kernel_size, padding, dilation)
    return windowed(x, lambda image: func(image, *window), *window)


def _avg_pool(
    func, x: SmallMap, kernel_size, stride=None, padding=0, ceil_mode=False, *more, **named
):
    if ceil_mode:
        return None
    window = (kernel_size, stride or kernel_size, padding)
    return windowed(x, lambda image: func(image, *window, False, *more, **named), *window, 1)


ONE_MAP = {
    **dict.fromkeys([F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_], _pointwise),
    **dict.fromkeys([F.batch_norm, F.dropout, F.leaky_relu], _pointwise),
    F.conv2d: _conv,
    F.max_pool2d: _max_pool,
    F.avg_pool2d: _avg_pool,
}
ADDS_IN_PLACE = {Tensor.add_, Tensor.__iadd__}
ADDS = {torch.add, Tensor.add, Tensor.__add__, *ADDS_IN_PLACE}
READS_SHAPE = {Tensor.dim, Tensor.size, Tensor.shape.__get__}


def ruled(func: Callable, values: list, kwargs: dict) -> SmallMap | None:
    """Return func(*values, **kwargs) if there is a rule for the maps among `values`, else None."""
    maps = [isinstance(value, SmallMap) for value in values]
    if maps == [True, True] and func in ADDS and not kwargs:
        return added(*values)
    if sum(maps) == 1 and maps[0] and func in ONE_MAP:
        return ONE_MAP[func](func, *values, **kwargs)
    return None


class Plateaus(TorchFunctionMode):
    """Hold maps small as long as only functions with a rule use them.

    The network passes on stand-ins: tensors of the true shape that take no memory and hold NaN.
    A stand-in is found by its identity. A function without a rule gets the full map. A function
    that torch does not show to this mode (a custom autograd function) uses the NaN of the
    stand-in. Then R depends on it, `bypassed` returns True, and the pass is repeated without
    plateaus.
    """

    def __init__(self, **options):
        """Take the dtype and the device of the maps."""
        super().__init__()
        self.nothing = torch.full((), torch.nan, requires_grad=True, **options)
        self.held: dict[int, tuple[Tensor, SmallMap | Tensor]] = {}  # by id of the stand-in

    def hold(self, x: Tensor) -> Tensor:
        """Return the stand-in for an image (1, C, H, W) of equal pixels."""
        height, width = x.shape[2:]
        return self.stand_in(SmallMap(x[..., :1, :1], (Plateau(0, height), Plateau(0, width))))

    def bypassed(self, R: Tensor) -> bool:
        """Return True if R depends on a stand-in itself, so that a function used its NaN."""
        (found,) = torch.autograd.grad(R, self.nothing, retain_graph=True, allow_unused=True)
        return found is not None

    def stand_in(self, x: SmallMap) -> Tensor:
        """Return the tensor that the network gets for x."""
        if x.plateaus == (NONE, NONE):
            return x.image
        held = zip(x.image.shape[2:], x.plateaus, strict=True)
        size = [n + plateau.length - 1 for n, plateau in held]
        tensor = self.nothing.expand(*x.image.shape[:2], *size)
        self.held[id(tensor)] = tensor, x
        return tensor

    def content(self, value: object) -> object:
        """Return the map of a stand-in, or any other value unchanged."""
        return self.held[id(value)][1] if id(value) in self.held else value

    def full(self, value: object) -> object:
        """Return the full map of a stand-in, and keep it; return any other value unchanged."""
        if type(value) in (list, tuple):
            return type(value)(map(self.full, value))
        x = self.content(value)
        if isinstance(x, SmallMap):
            x = narrowed(x, (NONE, NONE)).image
            self.held[id(value)] = value, x
        return x

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in READS_SHAPE:
            return func(*args, **kwargs)
        values = [self.content(value) for value in args]
        result = ruled(func, values, kwargs)
        if result is None:
            args, kwargs = map(self.full, args), {k: self.full(v) for k, v in kwargs.items()}
            return func(*args, **kwargs)
        if func in ADDS_IN_PLACE or result.image is values[0].image:
            self.held[id(args[0])] = args[0], result
            return args[0]
        return self.stand_in(result)
