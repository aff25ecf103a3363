"""Run the first layers of an image of ones on a few pixels.

Away from its borders such an image stays constant: convolution and pooling see the same window
everywhere. So every map is held with one row and one column for its plateau, repeated only as
far as the next window needs: the first layers of VGG-19 see 5 x 5 pixels in place of 224 x 224.
Each window that is computed is one of the large image, so the values are the same; and what
stands for many pixels collects, by autograd, the gradients of all.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune.fast.products import pair


class Plateau(NamedTuple):
    """Along one axis, what is held at index `start` stands for `length` equal ones."""

    start: int
    length: int


NONE = Plateau(0, 1)  # everything stands for itself


class Map(NamedTuple):
    """A map (1, C, H, W), held as a smaller one."""

    image: Tensor  # (1, C, h, w)
    plateaus: tuple[Plateau, Plateau]  # of rows, of columns


def after(old: Plateau, kernel: int, stride: int, padding: int, dilation: int) -> Plateau:
    """The plateau that a moving window leaves of one: where it lies inside it entirely."""
    reach = dilation * (kernel - 1) + 1
    start = -(-(old.start + padding) // stride)
    last = (old.start + old.length - reach + padding) // stride
    return Plateau(start, last - start + 1) if last > start else NONE


def common(a: Plateau, b: Plateau) -> Plateau:
    """Where two maps are both constant."""
    start, end = max(a.start, b.start), min(a.start + a.length, b.start + b.length)
    return Plateau(start, end - start) if end - start > 1 else NONE


def repeated(image: Tensor, dim: int, index: int, copies: int) -> Tensor:
    """The image with one index along `dim` repeated."""
    if copies == 1:
        return image
    before, one, rest = image.split([index, 1, image.shape[dim] - index - 1], dim)
    sizes = [copies if axis == dim else -1 for axis in range(image.dim())]
    return torch.cat([before, one.expand(sizes), rest], dim)


def narrowed(x: Map, plateaus: tuple[Plateau, Plateau]) -> Map:
    """The same map, with plateaus inside its own."""
    image = x.image
    for dim, old, new in zip((2, 3), x.plateaus, plateaus):
        image = repeated(image, dim, old.start, old.length - new.length + 1)
    return Map(image, plateaus)


def added(x: Map, y: Map) -> Map:
    """x + y."""
    plateaus = tuple(map(common, x.plateaus, y.plateaus))
    return Map(narrowed(x, plateaus).image + narrowed(y, plateaus).image, plateaus)


def windowed(x: Map, func: Callable[[Tensor], Tensor], *window: int | tuple[int, ...]) -> Map:
    """A convolution or pooling of x; `window` is kernel, stride, padding and dilation.

    A plateau is repeated just so often that one index of the plateau that is left is computed.
    """
    image, plateaus = x.image, []
    for dim, old, (kernel, stride, *shift) in zip((2, 3), x.plateaus, zip(*map(pair, window))):
        new = after(old, kernel, stride, *shift)
        image = repeated(image, dim, old.start, old.length - stride * (new.length - 1))
        plateaus.append(new)
    return Map(func(image), tuple(plateaus))


# Rules for functions of one map; None where the rule does not hold.


def _pointwise(func, x: Map, *args, **kwargs) -> Map:
    return Map(func(x.image, *args, **kwargs), x.plateaus)


def _conv(func, x: Map, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if isinstance(padding, str):
        return None
    more = (weight, bias, stride, padding, dilation, groups)
    return windowed(
        x, lambda image: func(image, *more), tuple(weight.shape[2:]), stride, padding, dilation
    )


def _max_pool(
    func, x: Map, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_
):  # with return_indices it is another function
    if ceil_mode:
        return None
    window = (kernel_size, stride or kernel_size, padding, dilation)
    return windowed(x, lambda image: func(image, *window), *window)


def _avg_pool(func, x: Map, kernel_size, stride=None, padding=0, ceil_mode=False, *more, **named):
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
ASKS = {Tensor.dim, Tensor.size, Tensor.shape.__get__}  # read no value


def ruled(func: Callable, values: list, kwargs: dict) -> Map | None:
    """The result of func(*values, **kwargs), if there are maps in it and a rule for them."""
    maps = [isinstance(value, Map) for value in values]
    if maps == [True, True] and func in ADDS and not kwargs:
        return added(*values)
    if sum(maps) == 1 and maps[0] and func in ONE_MAP:
        return ONE_MAP[func](func, *values, **kwargs)
    return None


class Plateaus(TorchFunctionMode):
    """Holds maps small for as long as only functions with a rule touch them.

    What the network passes on are stand-ins, known by their identity: tensors of the true shape
    that take no memory and hold NaN. A function without a rule is given the full map. One that
    goes unseen (a custom autograd function) uses the stand-in itself: see `bypassed`.
    """

    def __init__(self, **options):
        """`options` are dtype and device of the maps."""
        super().__init__()
        self.nothing = torch.full((), torch.nan, requires_grad=True, **options)
        self.held: dict[int, tuple[Tensor, Map | Tensor]] = {}  # by id of the stand-in

    def hold(self, x: Tensor) -> Tensor:
        """The stand-in for an image (1, C, H, W) of equal pixels."""
        return self.stand_in(Map(x[..., :1, :1], tuple(Plateau(0, n) for n in x.shape[2:])))

    def bypassed(self, R: Tensor) -> bool:
        """Whether R depends on stand-ins themselves, in place of what they stand for."""
        (found,) = torch.autograd.grad(R, self.nothing, retain_graph=True, allow_unused=True)
        return found is not None

    def stand_in(self, x: Map) -> Tensor:
        """What the network is given for x."""
        if x.plateaus == (NONE, NONE):
            return x.image
        size = [n + plateau.length - 1 for n, plateau in zip(x.image.shape[2:], x.plateaus)]
        tensor = self.nothing.expand(*x.image.shape[:2], *size)
        self.held[id(tensor)] = tensor, x
        return tensor

    def content(self, value: object) -> object:
        """What a stand-in stands for; anything else is itself."""
        return self.held[id(value)][1] if id(value) in self.held else value

    def full(self, value: object) -> object:
        """The full map, from now on, for a stand-in; anything else is itself."""
        if type(value) in (list, tuple):
            return type(value)(map(self.full, value))
        x = self.content(value)
        if isinstance(x, Map):
            x = narrowed(x, (NONE, NONE)).image
            self.held[id(value)] = value, x
        return x

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in ASKS:
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
