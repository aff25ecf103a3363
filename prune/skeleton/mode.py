"""The mode that runs a network as SynFlow reads it, and knows which tensors are streams."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from prune.in_dtype import LOOKUPS
from prune.probe import Call
from prune.skeleton.roles import Role
from prune.skeleton.rules import EVEN_OF_WEIGHTS, RULES, SHAPES

Readings = dict[tuple[str, str], int]  # (function, its reading) -> how often


class Positive(TorchFunctionMode):
    """Run each operation as SynFlow reads it.

    Attributes:
        read: (name of a function, how it is read) of the operations that were read otherwise.
        entries: The tensors in which the input enters: the floating inputs, and what embeddings
            return for ids.
    """

    def __init__(self, weights: Iterable[Tensor]):
        """Take the parameters and buffers that the network gets."""
        super().__init__()
        self.constants = WeakTensorKeyDictionary({t: True for t in weights if t.requires_grad})
        self.ids = WeakTensorKeyDictionary()
        self.roles = WeakTensorKeyDictionary()
        self.read: Readings = {}
        self.entries: list[Tensor] = []
        self.hold: Callable[[Tensor], Tensor] = torch.clone

    def entered(self, call: Call, hold: Callable[[Tensor], Tensor]) -> Call:
        """Return the input as streams; each of them, here or later, is what `hold` returns."""
        self.hold = hold

        def entry(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if value.is_floating_point():
                self.entries.append(value.detach().requires_grad_())
                return hold(self.entries[-1])
            self.ids[value] = True
            return value

        return call.map(entry)

    def is_stream(self, value: object) -> bool:
        """Return True for a tensor that depends on the input by a gradient."""
        return isinstance(value, Tensor) and value.requires_grad and value not in self.constants

    def role(self, value: Tensor) -> Role:
        """Return the role of a stream in a product."""
        return self.roles.get(value, Role.NONE)

    def note(self, func: Callable[..., Any], reading: str) -> None:
        """Count an operation that is read otherwise."""
        key = (_name(func), reading)
        self.read[key] = self.read.get(key, 0) + 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`, or its reading."""
        kwargs = kwargs or {}
        if func in LOOKUPS:
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunction():  # other modes need not see what is looked up here
            tensors = list(tensors_in(args, kwargs))
            streams = [t for t in tensors if self.is_stream(t)]
        rule = RULES.get(func) if streams or func in EVEN_OF_WEIGHTS else None
        out = rule(self, func, args, kwargs) if rule else func(*args, **kwargs)
        if not streams:
            with torch._C.DisableTorchFunction():
                return self.follow(out, tensors)
        if len(streams) == 1 and func in SHAPES and streams[0] in self.roles:
            for result in tensors_in((out,), {}):
                self.roles[result] = self.roles[streams[0]]
        return out

    def follow(self, out: Any, tensors: list[Tensor]) -> Any:
        """Mark the results of weights alone as constants, and of ids as ids or streams."""
        from_ids = any(t in self.ids for t in tensors)
        if from_ids and isinstance(out, Tensor) and out.is_floating_point():
            out = out if out.requires_grad else out.detach().requires_grad_()
            self.entries.append(out)
            return self.hold(out)
        for result in tensors_in((out,), {}):
            if from_ids:
                self.ids[result] = True
            elif result.requires_grad:
                self.constants[result] = True
        return out


def tensors_in(args: Iterable[Any], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors among arguments, and within lists and tuples."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value, {})


def _name(func: Any) -> str:
    return getattr(func, "__name__", str(func)).strip("_")
