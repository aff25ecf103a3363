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

FAR = 64  # a stream of 2^FAR or 2^-FAR is rescaled
ARGUMENTS = ("bias", "stride", "padding", "dilation", "groups")  # of a convolution, in this order
TRANSPOSED = ("bias", "stride", "padding", "output_padding", "groups", "dilation")


class Powers(TorchFunctionMode):
    """Rescale streams by powers of two, and run layers of equal weights on one channel.

    Attributes:
        exponents: Stream -> k; its value is that of the tensor times 2^k.
        maxima: The names of the functions that took a maximum.
        uses: Weight -> how often a function read it.
    """

    def __init__(self, uniform: Mapping[Tensor, Tensor]):
        """Take the tensors whose entries are all equal, with that entry as a tensor ()."""
        super().__init__()
        self.entry = WeakTensorKeyDictionary(dict(uniform))
        self.uses = WeakTensorKeyDictionary({W: 0 for W in uniform})
        self.exponents = WeakTensorKeyDictionary()
        self.maxima: set[str] = set()

    def hold(self, x: Tensor) -> Tensor:
        """Return a copy of a floating input, as a stream."""
        y = x.clone()
        self.exponents[y] = 0
        return y

    def total(self, streams: Sequence[Tensor]) -> tuple[Tensor, int]:
        """Return the sum of all entries as a tensor () and a power of two."""
        k = max(self.exponents[y] for y in streams)
        return torch.stack([self._times(y, k).sum() for y in streams]).sum(), k

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
        self._note_maximum(func)
        out = self._call(func, args, kwargs)
        if isinstance(written, Tensor):
            self.exponents[written] = k
        return self._rescaled(out, k, streams)

    def _call(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Call `func`, or its equal for weights that are all the same."""
        if func in WEIGHTED and len(args) > 1 and args[1] in self.entry:
            return of_equal_weights(func, *args, entry=self.entry[args[1]], **kwargs)
        return func(*args, **kwargs)

    def _note_maximum(self, func: Callable[..., Any]) -> None:
        name = getattr(func, "__name__", "")
        if "max" in name and "soft" not in name:
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
        new = isinstance(out, Tensor) and out in self.exponents and not out._is_view()
        if not new or out.numel() == 0 or any(out is t for t in streams):
            return out
        shift = frexp(out.detach().amax().item())[1]
        if abs(shift) < FAR:
            return out
        out = out * 2.0**-shift
        self.exponents[out] = k + shift
        return out


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
    transposed = "transpose" in func.__name__
    named |= dict(zip(TRANSPOSED if transposed else ARGUMENTS, rest, strict=False))
    groups = named.setdefault("groups", 1)
    outputs = W.shape[1] if transposed else len(W) // groups  # of each group
    channels = 1 - W.dim()  # the dimension of channels, with a batch or without
    summed = x.unflatten(channels, (groups, -1)).sum(channels)
    kernel = entry.expand(groups, 1, *W.shape[2:])
    y = func(summed, kernel, **{**named, "bias": None})
    return y.repeat_interleave(outputs, channels)
