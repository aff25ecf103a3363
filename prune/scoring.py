"""Run a model for scoring: in eval mode, in the scores' dtype, and leave it as it was."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from prune.masks import Masks, masked, prunable

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Probe:
    """All that a score may look at besides the network itself."""

    input_shape: tuple[int, ...]  # one example without the batch, e.g. (3, 32, 32)
    batches: Sequence[tuple[Tensor, Tensor]] = ()  # (inputs, labels), for scores that read data
    generator: torch.Generator | None = None  # for random scores; None: torch's own
    dtype: torch.dtype = torch.float64  # of the scores; `prune` sets it from `score_dtype`


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter is, and so the input belongs."""
    return next(model.parameters()).device


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode, gradients on, no autocast, no TF32; every setting is put back, come what may."""
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
    """Whole float32 products and repeatable convolutions: settings of torch as a whole."""
    backends = torch.backends
    wanted = [(backends.cudnn, "benchmark", False), (backends.cudnn, "deterministic", True)]
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        owners = [backends.cuda.matmul, backends.cudnn.conv]
        owners += [backends.mkldnn.matmul, backends.mkldnn.conv]
        wanted += [(owner, "fp32_precision", "ieee") for owner in owners]
    else:  # before torch 2.9; the two ways do not mix
        wanted += [(owner, "allow_tf32", False) for owner in (backends.cuda.matmul, backends.cudnn)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    try:
        _set(wanted)
        yield
    finally:
        _set(before)


def _set(settings: list[tuple[object, str, object]]) -> None:
    for owner, name, value in settings:
        setattr(owner, name, value)


def values(model: nn.Module, masks: Masks, dtype: torch.dtype) -> Tensors:
    """Copies of every floating parameter and buffer by name, as `dtype`, with masks applied."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    floating = {n: t for n, t in named.items() if t.is_floating_point()}
    return masked({n: t.detach().to(dtype, copy=True) for n, t in floating.items()}, masks)


def leaves(tensors: Tensors, masks: Masks) -> Tensors:
    """The same tensors; those with a mask now collect a gradient."""
    return tensors | {name: tensors[name].detach().requires_grad_() for name in masks}


def gradients(R: Tensor, tensors: Tensors, masks: Masks, create_graph: bool = False) -> Tensors:
    """dR/dtheta by name for the tensors with a mask; 0 where R does not depend on one."""
    theta = [tensors[name] for name in masks]
    found = torch.autograd.grad(
        R, theta, allow_unused=True, materialize_grads=True, create_graph=create_graph
    )
    return dict(zip(masks, found))


def output(model: nn.Module, tensors: Tensors, x: Tensor) -> list[Tensor]:
    """The model's floating outputs on x (batch, ...), run with `tensors` for its own.

    The buffers not among them are copied, so that a model that counts in `forward` does not.
    """
    own = {name: b.clone() for name, b in model.named_buffers() if name not in tensors}
    result = functional_call(model, own | tensors, (x,))
    return [y for y in tree_leaves(result) if isinstance(y, Tensor) and y.is_floating_point()]


def observe(model: nn.Module, see: Callable[[str, Tensor], None]) -> list:
    """Call see(name, output) whenever a prunable layer has run; returns the hooks to remove."""
    return [
        model.get_submodule(name.rpartition(".")[0]).register_forward_hook(
            lambda layer, inputs, out, name=name: see(name, out)
        )
        for name in prunable(model)
    ]
