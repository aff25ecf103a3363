"""Trace a forward pass: which operation reads which, and which ones are homogeneous."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import frexp, isfinite
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from prune.positive import NORMALISATIONS, WEIGHTED

INPUT = "input"
# Functions that may join or reorder channels, by the name that function, method and operator share.
MIXING = {
    "cat",
    "concat",
    "stack",
    "split",
    "chunk",
    "getitem",
    "gather",
    "index_select",
    "permute",
    "transpose",
    "swapaxes",
    "movedim",
    "flip",
    "roll",
    "T",
    "mT",
    "matmul",
    "mm",
    "bmm",
    "einsum",
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
} | {func.__name__ for func in WEIGHTED}
JOINING = {"add", "iadd", "radd", "sub", "isub", "rsub", "cat", "concat", "stack"}


class Stream(NamedTuple):
    """The origin of a tensor: the last prunable weights on its way, or INPUT."""

    sources: frozenset[str]
    in_order: bool  # its channels are those of its one source, in their order


class Operation(NamedTuple):
    """One function call on tensors that depend on the input."""

    name: str
    module: str  # the innermost module that called it
    layers: tuple[str, ...]  # the prunable weights that it uses
    reads: Stream
    defect: float  # the largest |f(c x) - c f(x)| / |c f(x)|: 0 if f is homogeneous


class Normalisation(NamedTuple):
    """One normalisation; scoring reads it as its scale."""

    name: str
    module: str
    by_input: bool  # it divides by statistics of its input, not by stored ones


@contextmanager
def running(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list that always holds the names of the running modules, innermost last."""
    path: list[str] = []

    def leave(*_: object) -> None:
        path.pop()

    hooks = [m.register_forward_hook(leave) for m in model.modules()]
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: path.append(name)))
    try:
        yield path
    finally:
        for hook in hooks:
            hook.remove()


class Watch(TorchFunctionMode):
    """Record normalisations; entered last, so before they are replaced."""

    def __init__(self, path: list[str]):
        super().__init__()
        self.path = path
        self.seen: list[Normalisation] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in NORMALISATIONS:
            given = inspect.signature(func).bind(*args, **kwargs).arguments
            by_input = func is not F.batch_norm or given.get("running_var") is None
            self.seen.append(Normalisation(func.__name__, self.path[-1], by_input))
        return func(*args, **kwargs)


class Tracer(TorchFunctionMode):
    """Record operations; entered first, so after normalisations were replaced.

    Args:
        x: The network's input.
        weights: name -> the very tensor that the network uses for this prunable weight.
        path: From `running`.
    """

    def __init__(self, x: Tensor, weights: Mapping[str, Tensor], path: list[str]):
        super().__init__()
        self.names = {id(weight): name for name, weight in weights.items()}
        self.path = path
        self.seen: list[Operation] = []
        self.streams = WeakTensorKeyDictionary({x: Stream(frozenset({INPUT}), True)})

    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = (args, kwargs or {})
        tensors = [t for t in tree_leaves(given) if isinstance(t, Tensor)]
        inputs = [t for t in tensors if t in self.streams]
        reads = _joined([self.streams[t] for t in inputs])
        # Before the call, which may work in place.
        scaled = [] if _linear(func, tensors, inputs) else _scaled(func, given, inputs)
        out = func(*args, **given[1])
        results = floating(out)
        if inputs and results:
            layers = tuple(self.names[id(t)] for t in tensors if id(t) in self.names)
            defect = max((_gap(results, factor, other) for factor, other in scaled), default=0.0)
            name = _name(func)
            constant = name in JOINING and len(tensors) > len(inputs)
            name_of = f"{name} of a constant" if constant and defect else name
            self.seen.append(Operation(name_of, self.path[-1], layers, reads, defect))
            gives = Stream(frozenset(layers), True) if layers else reads
            in_order = gives.in_order and (bool(layers) or name not in MIXING)
            for result in results:
                self.streams[result] = gives._replace(in_order=in_order)
        return out


def floating(out: object) -> list[Tensor]:
    """Return the floating-point tensors in the result of a function."""
    return [t for t in tree_leaves(out) if isinstance(t, Tensor) and t.is_floating_point()]


def _name(func: Callable) -> str:
    name = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
    return name.strip("_")


def _joined(streams: list[Stream]) -> Stream:
    sources = frozenset().union(*(stream.sources for stream in streams))
    return Stream(sources, len(sources) == 1 and all(stream.in_order for stream in streams))


def _linear(func: Callable, tensors: list[Tensor], inputs: list[Tensor]) -> bool:
    """Return True for a convolution or linear layer whose bias is 0 or absent."""
    return func in WEIGHTED and len(inputs) == 1 and not any(bias.any() for bias in tensors[2:])


@torch.no_grad()
def _scaled(func: Callable, given, inputs: list[Tensor]) -> list[tuple[float, list[Tensor]]]:
    """Return (c, func of its inputs times c) for two powers of two c; scaling does not round.

    The first c brings the largest input between 1/2 and 1. There, units like GELU bend that are
    straight at the large numbers of a dense network, and pruning makes numbers small. The second
    c is far smaller: there, softmax is almost a mean.
    """
    peak = max((float(t.abs().max()) for t in inputs if t.numel()), default=float("inf"))
    if not isfinite(peak):
        return []
    known = {id(t) for t in inputs}
    to_one = 2.0 ** -max(frexp(peak)[1], -1000)

    def call(factor: float) -> list[Tensor]:
        times = partial(_times, factor=factor, known=known)
        args, kwargs = tree_map(times, given)
        return floating(func(*args, **kwargs))

    return [(factor, call(factor)) for factor in (to_one, to_one * 2.0**-20)]


def _times(leaf: object, factor: float, known: set[int]) -> object:
    return leaf * factor if id(leaf) in known else leaf


@torch.no_grad()
def _gap(results: list[Tensor], factor: float, scaled: list[Tensor]) -> float:
    """Return the largest |f(c x) - c f(x)| over the largest |c f(x)|; 0 if numbers overflow."""
    gaps = [0.0]
    for y, other in zip(results, scaled):
        if y.numel():
            expected = y * factor
            gap, size = float((other - expected).abs().max()), float(expected.abs().max())
            gaps.append(gap / (size or 1) if isfinite(gap) and isfinite(size) else 0.0)
    return max(gaps)
