"""Run a model for scoring, in eval mode and in the dtype of the scores, without changing it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from prune.masks import Masks, masked, prunable

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Probe:
    """The data that a score may read besides the network itself."""

    input_shape: tuple[int, ...]  # one example without the batch, e.g. (3, 32, 32)
    batches: Sequence[tuple[Tensor, Tensor]] = ()  # (inputs, labels), for scores that read data
    generator: torch.Generator | None = None  # for random scores; None: torch's own
    dtype: torch.dtype = torch.float64  # of the scores; `prune` sets it from `score_dtype`


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter, where the input belongs."""
    return next(model.parameters()).device


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Set eval mode, gradients on, no autocast, no TF32; restore every setting, also on errors."""
    modes = {module: module.training for module in model.modules()}
    quiet = torch.autocast(device_of(model).type, enabled=False)
    try:
        model.eval()
        with torch.inference_mode(False), torch.enable_grad(), quiet, _full_precision():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _full_precision() -> Iterator[None]:
    """Set full float32 products and repeatable convolutions, for all of torch."""
    backends: Any = torch.backends  # its stubs lack some of these settings
    wanted: list[tuple[object, str, object]] = [
        (backends.cudnn, "benchmark", False),
        (backends.cudnn, "deterministic", True),
        (backends.cuda.matmul, "fp32_precision", "ieee"),
        (backends.cudnn.conv, "fp32_precision", "ieee"),
        (backends.mkldnn.matmul, "fp32_precision", "ieee"),
        (backends.mkldnn.conv, "fp32_precision", "ieee"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    try:
        _set(wanted)
        yield
    finally:
        _set(before)


def _set(settings: list[tuple[object, str, object]]) -> None:
    """Set attributes, given as (owner, name, value)."""
    for owner, name, value in settings:
        setattr(owner, name, value)


def values(model: nn.Module, masks: Masks, dtype: torch.dtype) -> Tensors:
    """Return copies of all floating parameters and buffers by name, in `dtype` and masked."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    floating = {n: t for n, t in named.items() if t.is_floating_point()}
    return masked({n: t.detach().to(dtype, copy=True) for n, t in floating.items()}, masks)


def leaves(tensors: Tensors, masks: Masks) -> Tensors:
    """Return the same tensors, those with a mask as leaves that collect a gradient."""
    return tensors | {name: tensors[name].detach().requires_grad_() for name in masks}


def gradients(
    R: Tensor, tensors: Tensors, names: Iterable[str], create_graph: bool = False
) -> Tensors:
    """Return dR/dtheta for the tensors of these names, 0 where R does not depend on one.

    Args:
        R: A tensor () with a graph.
        tensors: name -> theta; further names are allowed.
        names: The tensors to differentiate by; leaves of the graph of R.
        create_graph: Make the result differentiable, for second derivatives.
    """
    names = list(names)
    theta = [tensors[name] for name in names]
    found = torch.autograd.grad(
        R, theta, allow_unused=True, materialize_grads=True, create_graph=create_graph
    )
    return dict(zip(names, found, strict=True))


def output(model: nn.Module, tensors: Tensors, x: Tensor) -> list[Tensor]:
    """Run the model on x (batch, ...) with `tensors` in place of its own.

    Buffers that are not in `tensors` are copied, so that a counter in `forward` stays unchanged.

    Returns:
        The floating-point tensors of the result, from whatever containers the model returns.
    """
    own = {name: b.clone() for name, b in model.named_buffers() if name not in tensors}
    result = functional_call(model, own | tensors, (x,))
    return [y for y in tree_leaves(result) if isinstance(y, Tensor) and y.is_floating_point()]


@contextmanager
def observe(model: nn.Module, record: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call record(name, output) after each run of a prunable layer; remove the hooks at the end."""
    hooks = [
        model.get_submodule(name.rpartition(".")[0]).register_forward_hook(
            lambda layer, inputs, out, name=name: record(name, out)
        )
        for name in prunable(model)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
