"""Record the functions of one pass of the positive linear skeleton, and repeat them.

SynFlow runs the same network on the same input at each step; only the masks change. So the model
itself runs once, and a tape keeps each function of torch that it called, as SynFlow reads it.
Tensors are named by their places on the tape:

    y = F.linear(x, theta)     Entry(F.linear, (Place(0), Place(1)), {}, (2,))
    y = F.relu(y)              Entry(F.relu, (Place(2),), {}, (3,))

A model that does more than call functions of torch cannot be repeated so: one that branches on the
values of tensors, writes to its own tensors, or has a custom autograd function. `Recorder.tape`
returns None then.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from prune.in_dtype import LOOKUPS
from prune.skeleton.mode import tensors_in

# Functions whose result depends on shapes and settings only, so that it is the same each time.
ATTRIBUTES = ("ndim", "is_cuda", "is_sparse", "is_quantized", "is_nested", "layout", "is_mps")
METHODS = ("__len__", "ndimension", "nelement", "stride", "is_contiguous", "is_complex")
FIXED: set[Any] = {
    *LOOKUPS,
    *(getattr(Tensor, name).__get__ for name in ATTRIBUTES),
    *(getattr(Tensor, name) for name in (*METHODS, "get_device", "element_size")),
    *(torch.is_floating_point, torch.is_complex, torch.numel),
}
PLAIN = (
    int, float, complex, str, type(None), type(...), torch.dtype, torch.device, torch.layout,
    torch.memory_format, torch.Size,
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The place of a tensor on the tape."""

    number: int


class Entry(NamedTuple):
    """One call of a function."""

    func: Callable[..., Any]
    args: tuple[Any, ...]  # with a Place for each tensor
    kwargs: dict[str, Any]
    reads: tuple[int, ...]  # the places in the arguments
    results: tuple[int, ...]  # the places of the tensors that it returned
    grad: bool  # False within torch.no_grad
    last: list[int]  # the places that nothing reads afterwards


@dataclass(frozen=True)
class Tape:
    """The functions of one pass, in order."""

    entries: list[Entry]
    theta: dict[str, int]  # the places of the weights, by name
    inputs: dict[int, Tensor]  # the input of the network, which a pass may change in place
    constants: dict[int, Tensor]  # all other tensors that were not made by an entry
    outputs: list[int]  # their sum, times 2^-scale, is R
    scale: int


class Recorder(TorchFunctionMode):
    """Run each function and write it down."""

    def __init__(self, theta: Mapping[str, Tensor]):
        """Take the weights of which R is to be differentiated."""
        super().__init__()
        self.places = WeakTensorKeyDictionary()
        self.entries: list[Entry] = []
        self.inputs: dict[int, Tensor] = {}
        self.constants: dict[int, Tensor] = {}
        self.made: dict[int, Tensor] = {}  # without a gradient
        self.versions: dict[int, int] = {}  # of each tensor at its place, when it was first seen
        self.repeatable = True
        self.weights = dict(theta)
        self.theta = {name: self.new(t) for name, t in theta.items()}

    def new(self, tensor: Tensor) -> int:
        """Give a tensor the next place."""
        place = len(self.versions)
        self.places[tensor], self.versions[place] = place, tensor._version
        return place

    def hold(self, x: Tensor) -> Tensor:
        """Return what the network gets of an input, which it may change in place."""
        y = x.clone()
        if x in self.places:  # an embedding that is a weight itself
            self.write(torch.clone, (x,), {}, y)
        else:
            self.inputs[self.new(y)] = x.detach()
        return y

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` and write it down."""
        kwargs = kwargs or {}
        if func in FIXED:
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            self.look_at(tensors_in(args, kwargs))
        out = func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            self.write(func, args, kwargs, out)
        return out

    def look_at(self, tensors: Iterable[Tensor]) -> None:
        """Note tensors before a function can write to them, and those of custom functions.

        The result of a custom autograd function was made without a gradient and has one now.
        """
        for tensor in tensors:
            if tensor not in self.places:
                self.constant(tensor)
            elif tensor.requires_grad and self.places[tensor] in self.made:
                self.repeatable = False

    def write(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Write a call and its result."""
        placed = self.placed(tuple(args)), self.placed(kwargs)
        reads = tuple(dict.fromkeys(place.number for place in _found(placed)))
        results = []
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                results.append(self.places[leaf] if leaf in self.places else self.new(leaf))
                if not leaf.requires_grad:
                    self.made[results[-1]] = leaf
            elif leaf is not None:
                self.repeatable = False  # a number that may depend on the weights
        grad = torch.is_grad_enabled()
        self.entries.append(Entry(func, *placed, reads, tuple(results), grad, []))
        for tensor in tensors_in(args, kwargs):
            if tensor.requires_grad:  # `func` has written to it
                self.made.pop(self.places[tensor], None)

    def placed(self, value: Any) -> Any:
        """Return arguments with a Place for each tensor."""
        if isinstance(value, Tensor):
            if value not in self.places:
                self.constant(value)
            return Place(self.places[value])
        if type(value) in (tuple, list):
            return type(value)(map(self.placed, value))
        if type(value) is dict:
            return {key: self.placed(part) for key, part in value.items()}
        if isinstance(value, slice):
            ends = (value.start, value.stop, value.step)
            self.repeatable &= not any(isinstance(end, Tensor) for end in ends)
        elif not isinstance(value, PLAIN):
            self.repeatable = False
        return value

    def constant(self, tensor: Tensor) -> None:
        """Give a place to a tensor that no entry has made."""
        self.repeatable &= not tensor.requires_grad  # else a function made it that is not shown
        self.constants[self.new(tensor)] = tensor

    def tape(self, outputs: Iterable[Tensor], scale: int = 0) -> Tape | None:
        """Return the tape, or None if the pass cannot be repeated."""
        outputs = list(outputs)
        self.look_at(outputs)
        given = [(self.theta[name], t) for name, t in self.weights.items()]
        kept = all(self.same(place, t) for place, t in [*given, *self.constants.items()])
        if not (self.repeatable and kept):
            return None
        places = [self.places[y] for y in outputs]
        entries = [entry for entry in self.entries if not self.folded(entry)]
        _mark_last(entries, {*places, *self.theta.values()})
        read = {place for entry in entries for place in entry.reads}
        constants = {place: t for place, t in self.constants.items() if place in read}
        return Tape(entries, self.theta, self.inputs, constants, places, scale)

    def same(self, place: int, tensor: Tensor) -> bool:
        """Return True if nothing was written to a tensor since it got its place."""
        return self.versions[place] == tensor._version

    def folded(self, entry: Entry) -> bool:
        """Keep the results of an entry as constants if it reads nothing else."""
        if not all(place in self.constants for place in entry.reads):
            return False
        results = {place: self.made.get(place) for place in entry.results}
        if any(t is None or not self.same(place, t) for place, t in results.items()):
            return False
        self.constants |= {place: t for place, t in results.items() if t is not None}
        return True


def _mark_last(entries: list[Entry], keep: set[int]) -> None:
    """Fill in `last` of each entry, so that a tensor is freed once nothing reads it any more."""
    seen = set(keep)
    for entry in reversed(entries):
        used = dict.fromkeys((*entry.reads, *entry.results))
        entry.last.extend(place for place in used if place not in seen)
        seen.update(used)


def _found(value: Any) -> Iterable[Place]:
    """Yield the places within arguments."""
    if isinstance(value, Place):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _found(part)


def filled(value: Any, tensors: dict[int, Any]) -> Any:
    """Return arguments with the tensor, or what stands for it, of each Place."""
    kind = type(value)
    if kind is Place:
        return tensors[value.number]
    if kind is tuple or kind is list:
        return kind([filled(part, tensors) for part in value])
    if kind is dict:
        return {key: filled(part, tensors) for key, part in value.items()}
    return value
