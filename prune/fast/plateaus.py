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
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune.fast.maps import NONE, Plateau, SmallMap, added, narrowed, windowed
from prune.fast.products import PerAxis

# Rules for functions of one map. A rule returns None where it does not hold.


def _pointwise(func: Callable[..., Tensor], x: SmallMap, *args: Any, **kwargs: Any) -> SmallMap:
    return SmallMap(func(x.image, *args, **kwargs), x.plateaus)


def _conv(
    func: Callable[..., Tensor],
    x: SmallMap,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> SmallMap | None:
    if isinstance(padding, str):
        return None
    more = (weight, bias, stride, padding, dilation, groups)
    return windowed(
        x, lambda image: func(image, *more), tuple(weight.shape[2:]), stride, padding, dilation
    )


def _max_pool(
    func: Callable[..., Tensor],
    x: SmallMap,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    **_: Any,  # with return_indices, F.max_pool2d calls another function
) -> SmallMap | None:
    if ceil_mode:
        return None
    window = (kernel_size, stride or kernel_size, padding, dilation)
    return windowed(x, lambda image: func(image, *window), *window)


def _avg_pool(
    func: Callable[..., Tensor],
    x: SmallMap,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    ceil_mode: bool = False,
    *more: Any,
    **named: Any,
) -> SmallMap | None:
    if ceil_mode:
        return None
    window = (kernel_size, stride or kernel_size, padding)
    return windowed(x, lambda image: func(image, *window, False, *more, **named), *window, 1)


ONE_MAP: dict[Callable[..., Any], Callable[..., SmallMap | None]] = {
    F.relu: _pointwise,
    torch.relu: _pointwise,
    torch.relu_: _pointwise,
    Tensor.relu: _pointwise,
    Tensor.relu_: _pointwise,
    F.leaky_relu: _pointwise,
    Tensor.clone: _pointwise,
    F.batch_norm: _pointwise,
    F.dropout: _pointwise,
    F.conv2d: _conv,
    F.max_pool2d: _max_pool,
    F.avg_pool2d: _avg_pool,
}
ADDS_IN_PLACE = {Tensor.add_, Tensor.__iadd__}
ADDS = {torch.add, Tensor.add, Tensor.__add__, *ADDS_IN_PLACE}
READS_SHAPE = {
    Tensor.dim,
    Tensor.size,
    Tensor.shape.__get__,  # type: ignore[attr-defined]  # a property; the stubs have its value
}


def ruled(func: Callable[..., Any], values: list[Any], kwargs: dict[str, Any]) -> SmallMap | None:
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

    def __init__(self, dtype: torch.dtype, device: torch.device):
        """Take the dtype and the device of the maps."""
        super().__init__()
        self.nothing = torch.full((), torch.nan, requires_grad=True, dtype=dtype, device=device)
        self.held: dict[int, tuple[Tensor, SmallMap | Tensor]] = {}  # by id of the stand-in

    def hold(self, x: Tensor) -> Tensor:
        """Return the stand-in for an image (1, C, H, W) of equal pixels."""
        height, width = x.shape[2:]
        return self.stand_in(SmallMap(x[..., :1, :1], (Plateau(0, height), Plateau(0, width))))

    def bypassed(self, R: Tensor) -> bool:
        """Return True if R depends on a stand-in itself: then a function used its NaN."""
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

    def content(self, value: Any) -> Any:
        """Return the map of a stand-in, or any other value unchanged."""
        return self.held[id(value)][1] if id(value) in self.held else value

    def full(self, value: Any) -> Any:
        """Return the full map of a stand-in, and keep it; return any other value unchanged."""
        if type(value) in (list, tuple):
            return type(value)(map(self.full, value))
        x = self.content(value)
        if isinstance(x, SmallMap):
            x = narrowed(x, (NONE, NONE)).image
            self.held[id(value)] = value, x
        return x

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` by its rule on small maps, or else on full maps."""
        kwargs = kwargs or {}
        if func in READS_SHAPE:
            return func(*args, **kwargs)
        values = [self.content(value) for value in args]
        result = ruled(func, values, kwargs)
        if result is None:
            kwargs = {key: self.full(value) for key, value in kwargs.items()}
            return func(*map(self.full, args), **kwargs)
        if func in ADDS_IN_PLACE or result.image is values[0].image:
            self.held[id(args[0])] = args[0], result
            return args[0]
        return self.stand_in(result)
