"""Run the first layers of an image of ones on a few pixels.

Away from its borders such an image stays constant, because convolution and pooling have the same
window everywhere. This constant part is a plateau. A map is held with one pixel for its plateau,
which is repeated only as far as the next window needs. In one dimension, with a kernel of three
ones and padding 1:

    the map               1 1 1 1 1 1 1     held as  1        (1 stands for 7)
    after the convolution 2 3 3 3 3 3 2     held as  2 3 2    (3 stands for 5)

So the first layers of VGG-19 compute 5 x 5 pixels in place of 224 x 224. Each window that is
computed is a window of the large map, so the values are equal. Autograd adds up the gradients of
all pixels that one pixel stands for. A function without a rule gets the full map.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prune.fast.maps import NONE, SmallMap, added, joined, narrowed, windowed
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
ADDS = {torch.add, Tensor.add, Tensor.__add__, Tensor.add_, Tensor.__iadd__}


JOINS = {torch.cat, torch.concat, torch.concatenate}
SCALES = {torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__}


def _of_each_channel(value: Any) -> bool:
    """Return True for a number, and for a factor that is the same for all pixels."""
    if isinstance(value, Tensor):
        return value.numel() == 1 or (value.dim() in (3, 4) and value.shape[-2:] == (1, 1))
    return isinstance(value, int | float)


def _all_maps(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(x, SmallMap) for x in values)


def ruled(
    func: Callable[..., Any], call: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Any
) -> SmallMap | None:
    """Return func(*args, **kwargs) if there is a rule for the maps among the arguments, else None.

    Args:
        func: The function, by which the rule is found.
        call: Computes `func` on images.
        args: With a `SmallMap` in place of at least one image, here or in a list.
        kwargs: Without one.
    """
    maps = [isinstance(value, SmallMap) for value in args]
    if maps == [True, True] and func in ADDS and kwargs.keys() <= {"alpha"}:
        return added(*args, **kwargs)
    if (
        func in JOINS
        and _all_maps(args[0])
        and (args[1:], kwargs) in (((1,), {}), ((), {"dim": 1}))
    ):
        return joined(args[0])
    if sum(maps) == 1 and maps[0] and func in ONE_MAP:
        return ONE_MAP[func](call, *args, **kwargs)
    if sorted(maps) == [False, True] and func in SCALES and not kwargs:
        x, factor = args if maps[0] else reversed(args)
        return SmallMap(call(x.image, factor), x.plateaus) if _of_each_channel(factor) else None
    return None


def full(x: Any) -> Any:
    """Return the image of all pixels for a map, and any other value as it is."""
    return narrowed(x, (NONE, NONE)).image if isinstance(x, SmallMap) else x
