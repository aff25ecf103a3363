"""Trace the pass that is scored: its operations, the weights that they read, their homogeneity."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from prune.diagnosis.homogeneity import Given, at_scales, gap, results_of, writes
from prune.diagnosis.order import Channels, Layout, keeps_order, layer_of
from prune.skeleton.rules import SHAPES, WEIGHTED

INPUT = "input"
Names = frozenset[str]


class Operation(NamedTuple):
    """One function call on tensors that depend on the input."""

    name: str
    module: str  # the innermost module that called it
    layers: tuple[str, ...]  # the prunable weights that it uses
    reads: Names  # the last prunable weights on the way to it, or INPUT
    defect: float  # the largest |f(c x) - c f(x)| / |c f(x)|: 0 if f is homogeneous
    layout: Layout | None = None  # of its weight, if it uses one as a layer does
    in_order: bool = False  # it reads the channels of one layer, in their order


@contextmanager
def running(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list that always holds the names of the running modules, innermost last.

    Scripted modules take no hooks and are left out.
    """
    stack: list[str] = []

    def leave(*_: object) -> None:
        stack.pop()

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                enter = module.register_forward_pre_hook(lambda *_, name=name: stack.append(name))
                hooks.callback(enter.remove)
                hooks.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield stack


class Tracer(TorchFunctionMode):
    """Record operations as they are scored; entered first, so after they were replaced.

    Attributes:
        operations: The calls so far, in order.
        streams: The origin of each tensor that depends on the input, also of a detached one.
        constants: The prunable weights in each tensor that has a gradient, but no input.
        unseen: What made streams without a function call that a mode sees: scripted code, custom
            functions of autograd.
    """

    def __init__(self, weights: Mapping[str, Tensor], stack: list[str]):
        """Begin without any stream.

        Args:
            weights: name -> the tensor object that the network uses for this prunable weight.
            stack: The list that `running` yields.
        """
        super().__init__()
        self.leaves = {id(weight): name for name, weight in weights.items()}
        self.stack = stack
        self.operations: list[Operation] = []
        self.streams = WeakTensorKeyDictionary()
        self.constants = WeakTensorKeyDictionary(
            {weight: frozenset({name}) for name, weight in weights.items()}
        )
        self.unseen: list[str] = []
        self.made: dict[str, Channels] = {}  # what each layer returned last
        self.nodes: dict[Any, Names] = {}  # the origin of the streams that autograd's nodes make

    def hold(self, x: Tensor) -> Tensor:
        """Return a copy of an input, as a stream; a first layer may overwrite it in place."""
        held = x.clone()
        layers = tuple(sorted(self.constants.get(x, ())))  # a prunable embedding of ids
        if layers:
            self.add("embedding", layers, frozenset({INPUT}), 0.0)
        self.mark(held, frozenset(layers or {INPUT}))
        return held

    def mark(self, result: Tensor, sources: Names) -> None:
        """Note the origin of a stream."""
        self.streams[result] = sources
        self.constants.pop(result, None)
        if result.grad_fn is not None:
            self.nodes[result.grad_fn] = sources

    def add(self, name: str, layers: tuple[str, ...], reads: Names, defect: float) -> None:
        """Add an operation that is no layer."""
        self.operations.append(Operation(name, self.module, layers, reads, defect))

    @property
    def module(self) -> str:
        """The name of the innermost running module."""
        return self.stack[-1] if self.stack else ""

    def origin(self, t: Tensor) -> Names | None:
        """Return the sources of a tensor, None if it does not depend on the input by a gradient."""
        if not t.requires_grad or t in self.constants:
            return None
        if t not in self.streams:
            self._find(t)
        return self.streams.get(t)

    def _find(self, t: Tensor) -> None:
        """Look for the origin of a tensor, made unseen, in the graph of autograd."""
        sources, layers = set[str](), set[str]()
        seen, ahead = set[Any](), [t.grad_fn]
        while ahead:
            node = ahead.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node in self.nodes:
                sources |= self.nodes[node]
                continue
            leaf = getattr(node, "variable", None)
            layers |= frozenset() if leaf is None else self.constants.get(leaf, frozenset())
            ahead += [before for before, _ in node.next_functions]
        if not sources:
            self.constants[t] = frozenset(layers)
            return
        name = t.grad_fn.name() if t.grad_fn is not None else ""
        self.unseen.append(self.module)
        self.add(name, tuple(sorted(layers)), frozenset(sources), 0.0)
        self.mark(t, frozenset(layers or sources))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`; record it if it computes one floating tensor from another."""
        given: Given = (args, kwargs or {})
        tensors = [t for t in tree_leaves(given) if isinstance(t, Tensor)]
        if not tensors:
            return func(*args, **given[1])
        inputs = [t for t in tensors if self.origin(t) is not None]
        exact = func in SHAPES or not inputs or is_linear(func, tensors, inputs)
        # Before the call if it works in place.
        scaled = at_scales(func, given, inputs) if writes(func) and not exact else None
        reads = frozenset[str]().union(*(self.streams[t] for t in inputs))
        out = func(*args, **given[1])
        if results := results_of(func, args, out):
            if scaled is None:
                scaled = [] if exact else at_scales(func, given, inputs)
            defect = max((gap(results, c, other) for c, other in scaled), default=0.0)
            self._record(func, tensors, inputs, results, reads, defect)
        return out

    def _record(
        self,
        func: Callable[..., Any],
        tensors: list[Tensor],
        inputs: list[Tensor],
        results: list[Tensor],
        reads: Names,
        defect: float,
    ) -> None:
        """Add an operation, and the origin of its results."""
        used = dict.fromkeys(n for t in tensors for n in sorted(self.constants.get(t, ())))
        if not inputs:
            self._of_weights(func, tensors, results, frozenset(used))
            return
        if not any(result.requires_grad for result in results):
            self._detached(func, results, reads)
            return
        layers = tuple(used)
        self.add(name_of(func), layers, reads, defect)
        self._layer(func, tensors, inputs, results[0])
        for result in results:
            self.mark(result, frozenset(layers) or reads)

    def _of_weights(
        self, func: Callable[..., Any], tensors: list[Tensor], results: list[Tensor], used: Names
    ) -> None:
        """Note results that have no gradient by the input."""
        self.constants.update({result: used for result in results if result.requires_grad})
        known = [self.streams[t] for t in tensors if t in self.streams]
        if known:
            rest = [result for result in results if not result.requires_grad]
            self._detached(func, rest, frozenset[str]().union(*known))

    def _detached(self, func: Callable[..., Any], results: list[Tensor], reads: Names) -> None:
        """Note the origin of results without a gradient, unless only their shape is taken."""
        name = name_of(func)
        if not name.endswith("_like") and not name.startswith("new_"):
            self.streams.update(dict.fromkeys(results, reads))

    def _layer(
        self, func: Callable[..., Any], tensors: list[Tensor], inputs: list[Tensor], y: Tensor
    ) -> None:
        """Complete the last operation if its weight is used as that of a layer."""
        last = self.operations[-1]
        x, weight = (*tensors, None)[:2]
        if (
            weight is None
            or len(inputs) != 1
            or inputs[0] is not x
            or (self.leaves.get(id(weight)),) != last.layers
        ):
            return
        layer = layer_of(func, weight, x, y)
        if layer is None:
            return
        source = self.made.get(min(last.reads)) if len(last.reads) == 1 else None
        in_order = source is not None and keeps_order(source, layer.read)
        self.operations[-1] = last._replace(layout=layer.layout, in_order=in_order)
        self.made[last.layers[0]] = layer.made


def name_of(func: Callable[..., Any]) -> str:
    """Return the name of a function, method or property, without underscores around it."""
    own = getattr(func, "__self__", func) if func.__name__ == "__get__" else func
    name: str = own.__name__
    return name.strip("_")


def is_linear(func: Callable[..., Any], tensors: list[Tensor], inputs: list[Tensor]) -> bool:
    """Return True for a convolution or linear layer whose bias is 0 or absent."""
    return func in WEIGHTED and len(inputs) == 1 and not any(bias.any() for bias in tensors[2:])
