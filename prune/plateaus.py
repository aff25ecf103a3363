"""Run the early layers of an image of ones on a few pixels.

Far from its borders such an image stays constant: convolution and pooling see the same window
everywhere. So each map is held with one row and one column for the whole plateau, repeated as far
as the next window needs: the first layers of VGG-19 see 6 x 6 pixels in place of 224 x 224. Every
window that is computed is one of the large image, so values are the same, and autograd sums the
gradients of the copies.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


class Plateau(NamedTuple):
    """One axis of a map: index `start` stands for `length` equal ones (1: only for itself)."""

    start: int
    length: int


WHOLE = Plateau(0, 1)


class Map(NamedTuple):
    """What a map (1, C, H, W) is made of."""

    image: Tensor  # (1, C, h, w)
    plateaus: tuple[Plateau, Plateau]


def after(axis: Plateau, kernel: int, stride: int, padding: int, dilation: int) -> Plateau:
    """The plateau that is left where windows move over one: those that lie inside it entirely."""
    reach = dilation * (kernel - 1) + 1
    start = -(-(axis.start + padding) // stride)
    length = (axis.start + axis.length - reach + padding) // stride - start + 1
    return Plateau(start, length) if length > 1 else WHOLE


def common(first: Plateau, second: Plateau) -> Plateau:
    """Where both are constant."""
    start = max(first.start, second.start)
    length = min(first.start + first.length, second.start + second.length) - start
    return Plateau(start, length) if length > 1 else WHOLE


def stretched(image: Tensor, dim: int, axis: Plateau, copies: int) -> Tensor:
    """The image with its plateau's index repeated `copies` times."""
    if copies == 1:
        return image
    sizes = [*image.shape]
    sizes[dim] = copies
    before = image.narrow(dim, 0, axis.start)
    level = image.narrow(dim, axis.start, 1).expand(sizes)
    rest = image.shape[dim] - axis.start - 1
    return torch.cat([before, level, image.narrow(dim, axis.start + 1, rest)], dim)


def brought_to(whole: Map, plateaus: tuple[Plateau, Plateau]) -> Map:
    """The same map with smaller plateaus."""
    image = whole.image
    for dim, (old, new) in enumerate(zip(whole.plateaus, plateaus), 2):
        image = stretched(image, dim, old, old.length - new.length + 1)
    return Map(image, plateaus)


def _pair(value) -> tuple[int, int]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _conv_window(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return None if isinstance(padding, str) else (weight.shape[2:], stride, padding, dilation)


def _max_window(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    plain = not (ceil_mode or return_indices)
    return (kernel_size, stride or kernel_size, padding, dilation) if plain else None


def _average_window(input, kernel_size, stride=None, padding=0, ceil_mode=False, *_):
    return None if ceil_mode else (kernel_size, stride or kernel_size, padding, 1)


WINDOWS = {F.conv2d: _conv_window, F.max_pool2d: _max_window, F.avg_pool2d: _average_window}
POINTWISE = {
    *(F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    *(F.batch_norm, F.dropout, F.dropout2d),
}
SUMS = {torch.add, Tensor.add, Tensor.__add__, Tensor.add_, Tensor.__iadd__}
FACTS = {Tensor.dim, Tensor.size, Tensor.shape.__get__}


class Plateaus(TorchFunctionMode):
    """Holds maps small as long as only functions known here touch them.

    The network passes on stand-ins: tensors of the true shape that take no memory and hold
    NaN, known by their identity. Any other function gets the whole map. A use that this mode
    cannot see (a custom autograd function) reads the NaN, and so R tells of it.
    """

    def __init__(self):
        super().__init__()
        self.maps: dict[int, tuple[Tensor, Map | Tensor]] = {}

    def stand_in(self, content: Map) -> Tensor:
        """A tensor to pass around for this map; the map itself where nothing is saved."""
        image, plateaus = content
        if plateaus == (WHOLE, WHOLE):
            return image
        size = [n + axis.length - 1 for n, axis in zip(image.shape[2:], plateaus)]
        tensor = image.new_full((), torch.nan).expand(*image.shape[:2], *size)
        self.maps[id(tensor)] = tensor, content
        return tensor

    def ones(self, channels: int, height: int, width: int, **options) -> Tensor:
        """An image of ones, (1, C, H, W)."""
        image = torch.ones(1, channels, 1, 1, **options)
        return self.stand_in(Map(image, (Plateau(0, height), Plateau(0, width))))

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        maps = [self.maps[id(a)][1] for a in args if id(a) in self.maps]
        if not maps and not any(isinstance(a, tuple | list) for a in args): return func(*args, **kwargs)
        if func in FACTS: return func(*args, **kwargs)
        small = all(isinstance(m, Map) for m in maps)
        if small and len(maps)==1 and id(args[0]) in self.maps:
            if func in POINTWISE:
                return self.stand_in(Map(func(maps[0].image, *args[1:], **kwargs), maps[0].plateaus))
            if func in WINDOWS and (window := WINDOWS[func](*args, **kwargs)):
                return self.windowed(func, maps[0], window, args[1:], kwargs)
        if small and func in SUMS and len(maps) == 2 == len(args) and not kwargs:
            plateaus = tuple(common(*axes) for axes in zip(*(m.plateaus for m in maps)))
            return self.stand_in(Map(torch.add(*(brought_to(m, plateaus).image for m in maps)), plateaus))
        args, kwargs = tree_map(self.whole, (args, kwargs))
        return func(*args, **kwargs)

    def whole(self, value):
        if id(value) not in self.maps:
            return value
        tensor, content = self.maps[id(value)]
        if isinstance(content, Map):
            content = brought_to(content, (WHOLE, WHOLE)).image
            self.maps[id(value)] = tensor, content
        return content

    def windowed(self, func, content: Map, window, args, kwargs):
        """Repeat each plateau just so often that one index of the next one is computed."""
        kernel, stride, padding, dilation = map(_pair, window)
        image, plateaus = content.image, []
        for i, old in enumerate(content.plateaus):
            new = after(old, kernel[i], stride[i], padding[i], dilation[i])
            copies = old.length - stride[i] * (new.length - 1)
            image = stretched(image, i + 2, old, copies)
            plateaus.append(new)
        return self.stand_in(Map(func(image, *args, **kwargs), tuple(plateaus)))
