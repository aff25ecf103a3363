"""Trace a forward pass: the operations, the weights that they read, and their homogeneity."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from math import frexp, isfinite
from typing import Any, NamedTuple

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
    stack: list[str] = []

    def leave(*_: object) -> None:
        stack.pop()

    hooks = [m.register_forward_hook(leave) for m in model.modules()]
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: stack.append(name)))
    try:
        yield stack
    finally:
        for hook in hooks:
            hook.remove()


class NormalisationRecorder(TorchFunctionMode):
    """Record normalisations; entered last, so before they are replaced."""

    def __init__(self, stack: list[str]):
        """Take the list that `running` yields."""
        super().__init__()
        self.stack = stack
        self.normalisations: list[Normalisation] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`; record it if it is a normalisation."""
        kwargs = kwargs or {}
        if func in NORMALISATIONS:
            given = inspect.signature(func).bind(*args, **kwargs).arguments
            by_input = func is not F.batch_norm or given.get("running_var") is None
            found = Normalisation(func.__name__, self.stack[-1], by_input)
            self.normalisations.append(found)
        return func(*args, **kwargs)


class Tracer(TorchFunctionMode):
    """Record operations; entered first, so after normalisations were replaced.

    Attributes:
        operations: The calls so far, in order.
        streams: The origin of each tensor that depends on the input.
    """

    def __init__(self, x: Tensor, weights: Mapping[str, Tensor], stack: list[str]):
        """Begin with the input.

        Args:
            x: The network's input.
            weights: name -> the tensor object that the network uses for this prunable weight.
            stack: The list that `running` yields.
        """
        super().__init__()
        self.names = {id(weight): name for name, weight in weights.items()}
        self.stack = stack
        self.operations: list[Operation] = []
        self.streams = WeakTensorKeyDictionary({x: Stream(frozenset({INPUT}), True)})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`; record it if it computes one floating tensor from another."""
        given = (args, kwargs or {})
        tensors = [t for t in tree_leaves(given) if isinstance(t, Tensor)]
        inputs = [t for t in tensors if t in self.streams]
        # Before the call, which may work in place.
        scaled = [] if _linear(func, tensors, inputs) else _scaled(func, given, inputs)
        out = func(*args, **given[1])
        results = floating(out)
        if inputs and results:
            defect = max((_gap(results, factor, other) for factor, other in scaled), default=0.0)
            self._record(_name(func), tensors, inputs, results, defect)
        return out

    def _record(
        self,
        name: str,
        tensors: list[Tensor],
        inputs: list[Tensor],
        results: list[Tensor],
        defect: float,
    ) -> None:
        """Add an operation, and the origin of its results."""
        layers = tuple(self.names[id(t)] for t in tensors if id(t) in self.names)
        reads = _joined([self.streams[t] for t in inputs])
        with_constant = name in JOINING and len(tensors) > len(inputs) and defect
        label = f"{name} of a constant" if with_constant else name
        self.operations.append(Operation(label, self.stack[-1], layers, reads, defect))
        stream = reads._replace(in_order=reads.in_order and name not in MIXING)
        if layers:
            stream = Stream(frozenset(layers), True)
        for result in results:
            self.streams[result] = stream


def floating(out: object) -> list[Tensor]:
    """Return the floating-point tensors in the result of a function."""
    return [t for t in tree_leaves(out) if isinstance(t, Tensor) and t.is_floating_point()]


def _name(func: Any) -> str:
    """Return the name of a function, method or property, without underscores around it."""
    name: str = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
    return name.strip("_")


def _joined(streams: list[Stream]) -> Stream:
    """Return the origin of a result of several tensors."""
    sources = frozenset().union(*(stream.sources for stream in streams))
    return Stream(sources, len(sources) == 1 and all(stream.in_order for stream in streams))


def _linear(func: Callable[..., Any], tensors: list[Tensor], inputs: list[Tensor]) -> bool:
    """Return True for a convolution or linear layer whose bias is 0 or absent."""
    return func in WEIGHTED and len(inputs) == 1 and not any(bias.any() for bias in tensors[2:])


@torch.no_grad()
def _scaled(
    func: Callable[..., Any], given: tuple[tuple[Any, ...], dict[str, Any]], inputs: list[Tensor]
) -> list[tuple[float, list[Tensor]]]:
    """Return (c, func of its inputs times c) for two powers of two c; scaling does not round.

    The first c brings the largest input between 1/2 and 1. At the large numbers of a dense network
    a unit like GELU is linear; at these smaller ones, which pruning leads to, it is not. The second
    c is 2^20 times smaller: there, softmax is almost a mean.
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


def _times(leaf: Any, factor: float, known: set[int]) -> Any:
    """Return the leaf times the factor if its id is known, else the leaf itself."""
    return leaf * factor if id(leaf) in known else leaf


@torch.no_grad()
def _gap(results: list[Tensor], factor: float, scaled: list[Tensor]) -> float:
    """Return the largest |f(c x) - c f(x)| over the largest |c f(x)|; 0 if numbers overflow."""
    gaps = [0.0]
    for y, other in zip(results, scaled, strict=True):
        if y.numel():
            expected = y * factor
            gap, size = float((other - expected).abs().max()), float(expected.abs().max())
            gaps.append(gap / (size or 1) if isfinite(gap) and isfinite(size) else 0.0)
    return max(gaps)
