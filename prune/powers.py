"""Run a positive linear skeleton whose weights are equal within each tensor, at any depth.

Two things make it quick and keep it in range:

* A layer whose weights are all c sums the channels of each group, and runs on one channel.
* A stream is kept as a tensor times 2^k. Both sides of a sum, or of any other function that joins
  streams, are first brought to one k.
"""

from collections.abc import Callable, Mapping, Sequence
from math import frexp
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from prune.skeleton.mode import tensors_in
from prune.skeleton.roles import in_place
from prune.skeleton.rules import WEIGHTED

CONVEX = {"norm", "vector_norm", "lp_pool1d", "lp_pool2d", "lp_pool3d"}  # as a maximum is
ORDERS = {
    *("min", "amin", "aminmax", "minimum", "fmin", "cummin", "median", "nanmedian", "mode"),
    *("kthvalue", "quantile", "nanquantile", "topk", "sort", "msort"),
}
FAR = 64  # a stream of 2^FAR or 2^-FAR is rescaled
ARGUMENTS = ("bias", "stride", "padding", "dilation", "groups")  # of a convolution, in this order
TRANSPOSED = ("bias", "stride", "padding", "output_padding", "groups", "dilation")


class Powers(TorchFunctionMode):
    """Rescale streams by powers of two, and run layers of equal weights on one channel.

    Attributes:
        exponents: Stream -> k; its value is that of the tensor times 2^k.
        maxima: The names of the functions that took a maximum or a norm.
        orders: The names of those that took a minimum, a median or another order.
        uses: Weight -> how often a function read it.
        units: The number of outputs of all layers of equal weights.
        entries: The number of entries of all streams.
    """

    def __init__(self, uniform: Mapping[Tensor, Tensor]):
        """Take the tensors whose entries are all equal, with that entry as a tensor ()."""
        super().__init__()
        self.entry = WeakTensorKeyDictionary(dict(uniform))
        self.uses = WeakTensorKeyDictionary({W: 0 for W in uniform})
        self.exponents = WeakTensorKeyDictionary()
        self.maxima: set[str] = set()
        self.orders: set[str] = set()
        self.units = self.entries = 0

    def hold(self, x: Tensor) -> Tensor:
        """Return a copy of a floating input, as a stream."""
        y = x.clone()
        self.exponents[y] = 0
        self.entries += y.numel()
        return y

    def total(self, streams: Sequence[Tensor]) -> tuple[Tensor, int]:
        """Return the sum of all entries as a tensor () and a power of two."""
        aligned, k = self.aligned(streams)
        return torch.stack([y.sum() for y in aligned]).sum(), k

    def aligned(self, streams: Sequence[Tensor]) -> tuple[list[Tensor], int]:
        """Return streams for one power of two, and that power."""
        k = max(self.exponents[y] for y in streams)
        return [self._times(y, k) for y in streams], k

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` on streams of one exponent, and rescale its result."""
        kwargs = kwargs or {}
        tensors = list(tensors_in(args, kwargs))
        streams = [t for t in tensors if t in self.exponents]
        for W in {id(t): t for t in tensors if streams and t in self.uses}.values():
            self.uses[W] += 1
        if not streams:
            return func(*args, **kwargs)
        written = args[0] if in_place(func) or func is Tensor.__setitem__ else None
        ks = {self.exponents[t] for t in streams}
        k = self.exponents[written] if written in self.exponents else max(ks)
        if len(ks) > 1:
            args, kwargs = self._aligned(args, k), self._aligned(kwargs, k)
        self._note(func)
        out = self._call(func, args, kwargs)
        if isinstance(written, Tensor):
            self.exponents[written] = k
        return self._rescaled(out, k, streams)

    def _call(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Call `func`, or its equal for weights that are all the same."""
        if func in WEIGHTED and len(args) > 1 and args[1] in self.entry:
            y = of_equal_weights(func, *args, entry=self.entry[args[1]], **kwargs)
            self.units += y.numel()
            return y
        return func(*args, **kwargs)

    def _note(self, func: Callable[..., Any]) -> None:
        """Note a function that is not linear in streams that are not negative."""
        name = getattr(func, "__name__", "")
        if name in ORDERS:
            self.orders.add(name)
        elif ("max" in name and "soft" not in name) or name in CONVEX:
            self.maxima.add(name)

    def _times(self, x: Tensor, k: int) -> Tensor:
        """Return a stream for the exponent k."""
        shift = self.exponents[x] - k
        return x if shift == 0 else x * 2.0 ** min(shift, 1023)

    def _aligned(self, value: Any, k: int) -> Any:
        """Return arguments with each stream in them for the exponent k."""
        if isinstance(value, Tensor):
            return self._times(value, k) if value in self.exponents else value
        if isinstance(value, list | tuple):
            return tuple(self._aligned(part, k) for part in value)
        if isinstance(value, dict):
            return {key: self._aligned(part, k) for key, part in value.items()}
        return value

    def _rescaled(self, out: Any, k: int, streams: list[Tensor]) -> Any:
        """Return the result near 1 in magnitude, if it is one new tensor; note exponents."""
        for result in tensors_in((out,), {}):
            if result.is_floating_point():
                self.exponents[result] = k
                self.entries += result.numel()
        new = isinstance(out, Tensor) and out in self.exponents and not out._is_view()
        if not new or out.numel() == 0 or any(out is t for t in streams):
            return out
        shift = frexp(out.detach().amax().item())[1]
        if abs(shift) < FAR:
            return out
        out = out * 2.0**-shift
        self.exponents[out] = k + shift
        return out


def arguments(
    func: Callable[..., Tensor], rest: Sequence[Any], named: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a convolution after its weights by name, without its bias."""
    order = TRANSPOSED if "transpose" in func.__name__ else ARGUMENTS
    return {"groups": 1, **named, **dict(zip(order, rest, strict=False)), "bias": None}


def of_equal_weights(
    func: Callable[..., Tensor], x: Tensor, W: Tensor, *rest: Any, entry: Tensor, **named: Any
) -> Tensor:
    """Return func(x, W) without its bias, where all weights are equal to `entry`.

    Args:
        func: F.linear, or a convolution, transposed or not, of any dimension.
        x: The stream.
        W: The weights, of which the shape is read.
        rest: The further arguments of `func`.
        entry: The weight, as a tensor ().
        named: Arguments of `func` by name.
    """
    if W.dim() == 2:
        return (x.sum(-1, keepdim=True) * entry).expand(*x.shape[:-1], len(W)).clone()
    named = arguments(func, rest, named)
    groups = named["groups"]
    outputs = W.shape[1] if "transpose" in func.__name__ else len(W) // groups  # of each group
    channels = 1 - W.dim()  # the dimension of channels, with a batch or without
    summed = x.unflatten(channels, (groups, -1)).sum(channels)
    kernel = entry.expand(groups, 1, *W.shape[2:])
    return func(summed, kernel, **named).repeat_interleave(outputs, channels)
