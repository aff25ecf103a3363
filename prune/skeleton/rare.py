"""The reading of rarer operations."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prune.skeleton.products import addition, product, quotient
from prune.skeleton.roles import Mode, Role, Rule, like, named, result_in

Arguments = Sequence[Any]
Named = dict[str, Any]


def option(args: Arguments, kwargs: Named, position: int, name: str, default: Any = None) -> Any:
    """Return an argument that is given by position or by name."""
    return args[position] if len(args) > position else kwargs.get(name, default)


def add_combined(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read addcmul and addcdiv as the product or quotient and the sum that they are."""
    combine = quotient if "div" in func.__name__ else product
    pair = args[1:3] if len(args) > 2 else (kwargs["tensor1"], kwargs["tensor2"])
    value = abs(option(args, kwargs, 3, "value", 1))
    if any(map(mode.is_stream, pair)):
        combined = combine(mode, torch.div if combine is quotient else torch.mul, pair, {})
        return result_in(func, args, addition(mode, torch.add, (args[0], combined * value), {}))
    y = like(args[0], torch.broadcast_tensors(*pair)[0])
    return result_in(func, args, y)


def lerp(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read an interpolation as a sum; its weight is a magnitude, or an open gate."""
    a, b, weight = args[0], option(args, kwargs, 1, "end"), option(args, kwargs, 2, "weight")
    left, right = (1, 1) if mode.is_stream(weight) else (abs(1 - weight), abs(weight))
    total = (a * left if mode.is_stream(a) else 0) + (b * right if mode.is_stream(b) else 0)
    if not isinstance(total, Tensor):  # the weight alone is a stream
        return like(weight, torch.broadcast_tensors(a, b)[0])
    shape = torch.broadcast_shapes(*(t.shape for t in (a, b, weight) if isinstance(t, Tensor)))
    return result_in(func, args, total.expand(shape).clone())


def pad(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read the value of a padding as 0."""
    return func(*args[:3], **{key: v for key, v in kwargs.items() if key != "value"})


def extreme(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read a maximum or minimum with something that does not depend on the input as nothing."""
    other = option(args, kwargs, 1, "other")
    if not isinstance(other, Tensor):  # torch.max(x), torch.max(x, dim)
        return func(*args, **kwargs)
    streams = [t for t in (args[0], other) if mode.is_stream(t)]
    if len(streams) == 2:
        return func(*args, **kwargs)
    mode.note(func, "ReLU")
    return like(streams[0], other if streams[0] is args[0] else args[0])


def smooth_maximum(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read logsumexp as the maximum, logaddexp as that of two, and logcumsumexp as the last one."""
    mode.note(func, "a maximum")
    if "add" in func.__name__:
        return extreme(mode, torch.maximum, args, kwargs)
    if "cum" in func.__name__:
        return torch.cummax(args[0], option(args, kwargs, 1, "dim")).values
    dim, keepdim = option(args, kwargs, 1, "dim"), option(args, kwargs, 2, "keepdim", False)
    return args[0].amax(dim, keepdim)


def multiplied(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read a product over a dimension as the mean: of each factor the others are open gates."""
    mode.note(func, "a mean")
    x, dim = args[0], option(args, kwargs, 1, "dim")
    if "cum" in func.__name__:
        count = torch.ones_like(x.detach()).cumsum(dim)
        return x.cumsum(dim) / count
    return x.mean() if dim is None else x.mean(dim, option(args, kwargs, 2, "keepdim", False))


def spread(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read a variance or standard deviation as the mean."""
    mode.note(func, "a mean")
    x, known = args[0], func(args[0].detach(), *args[1:], **kwargs)
    dim = option(args, kwargs, 1, "dim")
    mean = x.mean() if dim is None or isinstance(dim, bool) else x.mean(dim)
    if isinstance(known, tuple):
        return mean.reshape(known[0].shape), mean.reshape(known[1].shape)
    return mean.reshape(known.shape)


def distance(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read distances of vectors as sums of their entries."""
    mode.note(func, "a sum")
    a, b = (t.sum(-1) if mode.is_stream(t) else 0 * t.detach().sum(-1) for t in args[:2])
    if "cdist" in func.__name__:
        return a[..., :, None] + b[..., None, :]
    return a + b


def sample(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read a sampling at points that depend on the input as a change of size."""
    x, grid = args[0], option(args, kwargs, 1, "grid")
    if not mode.is_stream(grid):
        return func(x, grid.detach(), *args[2:], **{k: v for k, v in kwargs.items() if k != "grid"})
    mode.note(func, "a change of size")
    return F.interpolate(x, grid.shape[1:-1]) if mode.is_stream(x) else grid.sum(-1)[:, None]


def bilinear(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read the second of two streams as an open gate, and leave out the bias."""
    a, b, W = args[:3]
    if not (mode.is_stream(a) and mode.is_stream(b)):
        return func(a, b, W)
    mode.note(func, "an open gate")
    return F.linear(a, W.sum(2))


def outer(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read an outer product as the product that it is."""
    a, b = args[0], args[1]
    return product(mode, torch.mul, (a[:, None], b[None]), {})


def contraction(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read an inner product of two streams as the mean of the second one."""
    a, b = args[0], args[1]
    if not (mode.is_stream(a) and mode.is_stream(b)):
        return func(*args, **kwargs)
    mode.note(func, "a mean")
    uniform = torch.ones_like(a.detach())
    total = func(uniform, b, *args[2:], **kwargs)
    return total / (func(uniform, torch.ones_like(b.detach()), *args[2:], **kwargs).amax())


def shifted(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read addmv and addr as the product, and a sum if the first argument is a stream, too."""
    a, b = args[1], args[2]
    y = outer(mode, func, (a, b), {}) if "addr" in func.__name__ else torch.matmul(a, b)
    y = y * abs(kwargs.get("alpha", 1))
    beta = abs(kwargs.get("beta", 1))
    return result_in(func, args, y + beta * args[0] if mode.is_stream(args[0]) else y)


def written(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read what is written into a stream and does not depend on the input as 0."""

    def read(value: Any) -> Any:
        if isinstance(value, Tensor):
            floating = value.is_floating_point() and not mode.is_stream(value)
            return torch.zeros_like(value) if floating else value
        return 0.0 if isinstance(value, float) else value

    last = args[-1]
    if isinstance(last, int) and not isinstance(last, bool) and len(args) > 3:
        args = (*args[:-1], 0)  # x.index_fill(dim, index, 1)
    kwargs = {key: 0 if key == "value" and isinstance(v, int) else v for key, v in kwargs.items()}
    return func(*map(read, args), **{key: read(value) for key, value in kwargs.items()})


def difference(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read differences of neighbours as their sums."""
    x, dim = args[0], option(args, kwargs, 2, "dim", -1)
    for _ in range(option(args, kwargs, 1, "n", 1)):
        x = x.narrow(dim, 1, x.shape[dim] - 1) + x.narrow(dim, 0, x.shape[dim] - 1)
    return x


def of_two(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read the length of (a, b) as a sum."""
    return addition(mode, torch.add, args, kwargs)


def angle(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read an angle as a gate."""
    y = product(mode, torch.mul, (args[0], option(args, kwargs, 1, "other")), {})
    mode.roles[y] = Role.GATE
    return y


def transform(mode: Mode, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Read a Fourier transform as the sum over its dimensions, and the inverse as the mean."""
    mode.note(func, "a sum")
    name, known = func.__name__, func(args[0].detach(), *args[1:], **kwargs)
    dims = option(args, kwargs, 2, "dim", {"n": None, "2": (-2, -1)}.get(name[-1], -1))
    whole = tuple(range(known.dim())) if dims is None else dims
    x = args[0].mean(whole, True) if "ifft" in name or "irfft" in name else args[0].sum(whole, True)
    x = x.expand(known.shape)
    if known.is_complex():
        return x.clone() if x.is_complex() else torch.complex(x, torch.zeros_like(x))
    return x.real.clone() if x.is_complex() else x.clone()


FOURIER = {
    getattr(torch.fft, f"{kind}fft{end}")
    for kind in ("", "i", "r", "ir", "h", "ih")
    for end in ("", "2", "n")
}
RARE: list[tuple[set[Any], Rule]] = [
    (named("addcmul", "addcdiv"), add_combined),
    (named("lerp"), lerp),
    (named("pad"), pad),
    (named("maximum", "minimum", "fmax", "fmin", "max", "min"), extreme),
    (named("logsumexp", "logaddexp", "logaddexp2", "logcumsumexp"), smooth_maximum),
    (named("prod", "cumprod"), multiplied),
    (named("var", "std", "var_mean", "std_mean"), spread),
    (named("cdist", "pairwise_distance", "dist"), distance),
    (named("grid_sample"), sample),
    (named("bilinear"), bilinear),
    (named("outer", "ger"), outer),
    (named("tensordot", "inner", "dot", "vdot", "vecdot"), contraction),
    (named("addmv", "addr"), shifted),
    (
        named(
            "index_fill", "index_copy", "scatter", "masked_scatter", "index_put", "fill_diagonal"
        ),
        written,
    ),
    (named("diff"), difference),
    (FOURIER, transform),
    (named("hypot"), of_two),
    (named("atan2", "arctan2"), angle),
]
