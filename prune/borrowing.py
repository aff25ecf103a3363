"""Run a model with other tensors than its own, and give it back exactly as it was."""

import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import attention
from torch.utils import checkpoint

from prune.enforce import is_guard
from prune.weights import HOOKS, Place


def inner(model: nn.Module) -> nn.Module:
    """Return the network within torch.compile, DataParallel and DistributedDataParallel."""
    wrappers = nn.DataParallel | nn.parallel.DistributedDataParallel
    while True:
        if type(model).__name__ == "OptimizedModule":
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, wrappers):
            model = model.module
        else:
            return model


STANDARD = frozenset(nn.Module().__dict__)  # the attributes of every module


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Restore all attributes of all modules at the end: tensors, lists, modes, hooks, caches.

    Tensors are restored as objects; those that a pass may change in place must be swapped for
    copies (`swapped`).
    """
    scripted = {m: m.training for m in model.modules() if isinstance(m, torch.jit.ScriptModule)}
    saved = [(box, box.copy()) for module in _plain(model) for box in _boxes(module)]
    try:
        yield
    finally:
        for box, before in saved:
            if isinstance(box, list):
                box[:] = before
            else:
                box.clear()
                box.update(before)
        for module, training in scripted.items():
            module.training = training


def _plain(model: nn.Module) -> list[nn.Module]:
    """Return the modules that are Python objects, unlike scripted ones."""
    return [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]


def _boxes(module: nn.Module) -> Iterator[Any]:
    """Yield the dicts, lists and sets in which a module keeps its attributes."""
    yield module.__dict__
    for name, value in module.__dict__.items():
        if name not in STANDARD:
            yield from _nested(value)
        elif isinstance(value, dict | set):
            yield value


def _nested(value: object, above: tuple[int, ...] = ()) -> Iterator[Any]:
    """Yield a dict, list or set, and those within it."""
    if not isinstance(value, dict | list | set) or id(value) in above:
        return
    yield value
    if not isinstance(value, set):
        for part in list(value.values() if isinstance(value, dict) else value):
            yield from _nested(part, (*above, id(value)))


@contextmanager
def swapped(model: nn.Module, tensors: Mapping[int, Tensor], dtype: torch.dtype) -> Iterator[None]:
    """Put other tensors in place of parameters, buffers and plain tensor attributes.

    Args:
        model: Any network, within `restored`.
        tensors: id of a tensor of the model -> the one to use instead. All others are copied, in
            `dtype` if they are floating, so that nothing that a pass writes stays.
        dtype: Of the pass.
    """
    copies: dict[int, Tensor] = {}
    undo: list[tuple[Any, Any, Any]] = []

    def instead(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(instead, value)) if type(value) is tuple else value
        if not isinstance(value, Tensor):
            return value
        if id(value) in tensors:
            return tensors[id(value)]
        if id(value) not in copies:
            like = dtype if value.is_floating_point() else value.dtype
            copies[id(value)] = value.detach().to(like, copy=True)
        return copies[id(value)]

    def swap(box: Any) -> None:
        for key, value in list(enumerate(box) if isinstance(box, list) else box.items()):
            if isinstance(value, Tensor | tuple):
                undo.append((box, key, value))
                box[key] = instead(value)

    _refuse_scripted(model)
    try:
        for module in _plain(model):
            for box in _holders(module):
                swap(box)
        yield
    finally:
        for box, key, value in reversed(undo):
            box[key] = value


def _refuse_scripted(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.parameters()):
            raise ValueError(
                f"{name or 'the model'} is scripted (torch.jit) and has weights, which cannot be "
                "scored; prune the model before it is scripted"
            )


def _holders(module: nn.Module) -> Iterator[Any]:
    """Yield the dicts and lists of a module that may hold tensors."""
    yield from (module._parameters, module._buffers, module.__dict__)
    for name, value in module.__dict__.items():
        if name not in STANDARD:
            yield from (box for box in _nested(value) if not isinstance(box, set))


def without_guards(model: nn.Module) -> None:
    """Remove the hooks of `apply`, within `restored`: masks are given to the pass."""
    for module in _plain(model):
        hooks = module._forward_pre_hooks
        for key in [key for key, hook in hooks.items() if is_guard(hook)]:
            del hooks[key]


class Given(nn.Module):
    """A parametrisation that returns a given matrix."""

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.__dict__["matrix"] = matrix

    def forward(self) -> Any:
        """Return the matrix."""
        return self.matrix


@contextmanager
def given(place: Place, matrix: Tensor) -> Iterator[None]:
    """Let a layer use a matrix in place of the one that it computes; within `swapped`."""
    layer, attribute = place.layer, place.attribute
    computed: Any = getattr(layer, "parametrizations", {})
    if attribute in computed:
        modules = computed._modules
        before, modules[attribute] = modules[attribute], Given(matrix)
        try:
            yield
        finally:
            modules[attribute] = before
        return
    hooks = layer._forward_pre_hooks
    removed = {key: hook for key, hook in hooks.items() if isinstance(hook, HOOKS)}
    layer.__dict__[attribute] = matrix
    try:
        for key in removed:
            del hooks[key]
        yield
    finally:
        hooks.update(removed)


@contextmanager
def without_detours() -> Iterator[None]:
    """Run what is compiled or checkpointed as plain code; take attention's differentiable form.

    Activation checkpointing would run the forward pass once more in the backward pass, where the
    model has its own tensors again. Fused attention has no second derivative.
    """

    class Direct:
        """Stand-in for torch's checkpoint function: run the part of the model, keep all."""

        @staticmethod
        def apply(function: Any, preserve: bool, *args: Any) -> Any:
            """Call the function."""
            return function(*args)

    def plain(*_: object, **__: object) -> Generator[None, None, None]:
        yield

    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # else nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(attention.sdpa_kernel(attention.SDPBackend.MATH))
        for name, value in (
            ("CheckpointFunction", Direct),
            ("_checkpoint_without_reentrant_generator", plain),
            ("_checkpoint_without_reentrant_generator_impl", plain),
        ):
            if hasattr(checkpoint, name):
                stack.enter_context(patch.object(checkpoint, name, value))
        yield
