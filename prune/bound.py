"""A bound on the change of a network's function by pruning.

Two streams run side by side, as the two halves of a batch: P >= |a| bounds each number a in the
network, and D >= |a - a'| bounds its change, where a' is the same number in the pruned network.

* A layer with the weights W, pruned W', gives |W| P + |b| and |W'| D + |W - W'| P, because
  W a - W' a' = W' (a - a') + (W - W') a. Biases are not pruned, so they cancel.
* A unit with |phi(a) - phi(b)| <= |a - b| and phi(0) = 0 leaves both as they are.
* Pooling, sums and the scale of batch norm do to both what they do to numbers that are not
  negative. The maximum is that of D: |max a - max a'| <= max |a - a'|.

In a chain without max pooling D is P of the network minus P of the pruned one (reference, section
6). The difference of two maxima is no bound, so D is a stream of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from prune.in_dtype import LOOKUPS
from prune.masks import Masks, check_masks
from prune.probe import Call, Probe, ones
from prune.scoring import output, undisturbed, values
from prune.skeleton.mode import tensors_in
from prune.skeleton.rare import option
from prune.skeleton.roles import named, result_in
from prune.skeleton.rules import WEIGHTED

KNOWN = (
    "it knows linear and convolutional layers, batch norm with stored statistics, ReLU and units "
    "like it, pooling, sums of branches and torch.cat"
)


class Bound(NamedTuple):
    """Bounds for all inputs of magnitudes up to a given one, shaped like the output."""

    output: Tensor  # of |f(x)|
    change: Tensor  # of |f(x) - f_pruned(x)|


def change_bound(model: nn.Module, masks: Masks, probe: Probe, largest: float = 1.0) -> Bound:
    """Bound the change of each output by pruning, for all inputs with |x| <= `largest`.

    Args:
        model: Any network of layers that the bound knows, in eval mode and with its weights as they
            were before `apply`. Not changed.
        masks: name -> bool tensor, True = kept.
        probe: `input_shape` or `example`, and `dtype` are read.
        largest: The largest magnitude of an input.

    Returns:
        The bounds in `probe.dtype`, each shaped like the output for the probe. Without biases,
        shifts and max pooling the sums are `largest` times R, and R minus R of the pruned network.

    Raises:
        ValueError: If the network has an operation without a rule; names it.
        FloatingPointError: If the bound leaves the range of `probe.dtype`.
    """
    check_masks(model, masks)
    with undisturbed(model), torch.no_grad():
        theta = values(model, {}, probe.dtype)
        streams = Streams({theta[name]: mask for name, mask in masks.items()})
        call = streams.entered(ones(model, probe), largest)
        try:
            result = output(model, theta, call, probe.dtype, modes=[streams])
        except ValueError as error:
            raise (ValueError(streams.refused) if streams.refused else error) from None
    if not streams.has(result):
        raise ValueError("change_bound needs a model that returns one tensor made from its input")
    bound = Bound(*result.chunk(2))
    if not bound.output.isfinite().all():
        raise FloatingPointError(f"the bound leaves the range of {probe.dtype}")
    return bound


class Streams(TorchFunctionMode):
    """Run a network on both streams at once, the rows of P before those of D.

    Attributes:
        refused: The reason why there is no bound, or "".
    """

    def __init__(self, masks: dict[Tensor, Tensor]):
        """Take the mask of each tensor that has one."""
        super().__init__()
        self.masks, self.streams = WeakTensorKeyDictionary(masks), WeakTensorKeyDictionary()
        self.refused = ""

    def entered(self, call: Call, largest: float) -> Call:
        """Return the input as streams: P is `largest`, and D is 0."""

        def enter(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            both = torch.cat([value * largest, torch.zeros_like(value)])
            self.streams[both] = len(both)
            return both

        return call.map(enter)

    def has(self, value: object) -> bool:
        """Return True for a stream."""
        return isinstance(value, Tensor) and value in self.streams

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`, or its rule if it reads a stream or a weight with a mask."""
        kwargs = kwargs or {}
        if func in LOOKUPS or func in SIZES:
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            tensors = list(tensors_in(args, kwargs))
            rows = {self.streams[t] for t in tensors if t in self.streams}
            if not rows and not any(t in self.masks for t in tensors):
                return func(*args, **kwargs)
            rule = RULES.get(func)
            if rule is None or len(rows) != 1:  # also where a masked weight is read alone
                self.refuse(func)
            y = rule(self, func, args, kwargs)  # type: ignore[misc]
            if len(y) not in rows:
                self.refuse(func)
            self.streams[y] = len(y)
            return y

    def refuse(self, func: Any) -> None:
        """Raise ValueError for a function without a rule."""
        name = getattr(func, "__name__", str(func)).strip("_")
        self.refused = f"change_bound has no rule for {name} as this model uses it: {KNOWN}"
        raise ValueError(self.refused)

    def require(self, holds: bool, func: Any) -> None:
        """Refuse a function unless a condition of its rule holds."""
        if not holds:
            self.refuse(func)


Rule = Callable[[Streams, Callable[..., Any], Sequence[Any], dict[str, Any]], Any]


def along(values: Tensor, x: Tensor, dim: int) -> Tensor:
    """Return values (channels,) in the shape that multiplies or adds to the channels of x."""
    return values.reshape([-1 if place == dim % x.dim() else 1 for place in range(x.dim())])


def shifted(x: Tensor, shift: Tensor) -> Tensor:
    """Add |shift| to P; D does not change, because both networks have it."""
    P, D = x.chunk(2)
    return torch.cat([P + shift.abs(), D])


def weighted(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Return |W'| times both streams plus |W - W'| P, and |b|."""
    x, W, b = args[0], option(args, kwargs, 1, "weight"), option(args, kwargs, 2, "bias")
    mode.require(mode.has(x) and not any(map(mode.has, (W, b))), func)
    rest = {key: value for key, value in kwargs.items() if key not in ("weight", "bias")}
    kept = mode.masks.get(W)
    y = func(x, W.abs() if kept is None else W.abs() * kept, None, *args[3:], **rest)
    if kept is not None:
        lost = func(x.chunk(2)[0], W.abs() * ~kept, None, *args[3:], **rest)
        y = y + torch.cat([lost, lost])
    return y if b is None else shifted(y, along(b, y, -1 if func is F.linear else 1))


def unit(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Return the streams as they are: the unit is 1-Lipschitz and 0 at 0."""
    return args[0].clone()


def clipped(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Return the streams as they are, if the range has 0 in it."""
    least, most = option(args, kwargs, 1, "min_val", -1), option(args, kwargs, 2, "max_val", 1)
    mode.require(least <= 0 <= most, func)
    return args[0].clone()


def leaky(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Return the streams as they are, if the slope is not steeper than 1."""
    mode.require(abs(option(args, kwargs, 1, "negative_slope", 0.01)) <= 1, func)
    return args[0].clone()


def prelu(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Multiply each channel by its slope where that is steeper than 1."""
    x, slopes = args[0], option(args, kwargs, 1, "weight")
    return x * along(slopes.abs().clamp(min=1), x, 1 if x.dim() > 1 else 0)


def batch_norm(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Multiply by the magnitude of the scale; the shift joins P."""
    names = ("running_mean", "running_var", "weight", "bias", "training")
    mean, var, weight, bias, training = (
        option(args, kwargs, place, name) for place, name in enumerate(names, 1)
    )
    mode.require(mean is not None and var is not None and not training, func)
    scale = (var + option(args, kwargs, 7, "eps", 1e-5)).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return shifted(args[0] * along(scale.abs(), args[0], 1), along(shift, args[0], 1))


def addition(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Add two streams, also in place of their difference."""
    a, b = args[0], option(args, kwargs, 1, "other")
    mode.require(mode.has(a) and mode.has(b), func)
    total = torch.add(a, b, alpha=abs(kwargs.get("alpha", 1)))
    return result_in(func, args, total)


def join(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Join streams."""
    mode.require(all(map(mode.has, args[0])), func)
    return func(*args, **kwargs)


def part(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Take a part of each row."""
    mode.require(isinstance(args[1], tuple) and args[1][0] == slice(None), func)
    return func(*args, **kwargs)


def as_it_is(mode: Streams, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """Do to both streams what the function does to numbers that are not negative."""
    y = func(*args, **kwargs)
    mode.require(isinstance(y, Tensor), func)  # not with return_indices
    return y


SIZES = {Tensor.__len__, Tensor.ndim.__get__, Tensor.stride}  # type: ignore[attr-defined]
KINDS = ("max", "avg", "adaptive_max", "adaptive_avg")
POOLS = named(*(f"{kind}_pool{dims}d" for kind in KINDS for dims in (1, 2, 3)))
SHAPES = named(
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "dropout"
)
RULES: dict[Callable[..., Any], Rule] = {
    **dict.fromkeys(WEIGHTED, weighted),
    **dict.fromkeys(named("relu", "relu6", "tanh", "softsign"), unit),
    **dict.fromkeys(named("hardtanh"), clipped),
    **dict.fromkeys(named("prelu"), prelu),
    **dict.fromkeys(POOLS | SHAPES, as_it_is),
    **dict.fromkeys(named("add", "sub"), addition),
    **dict.fromkeys(named("cat", "concat"), join),
    F.leaky_relu: leaky,
    F.batch_norm: batch_norm,
    Tensor.__getitem__: part,
}
