"""Run a model for scoring, in eval mode and in the dtype of the scores, without changing it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prune.borrowing import (
    given,
    inner,
    restored,
    swapped,
    without_detours,
    without_guards,
)
from prune.in_dtype import InDtype, default_dtype
from prune.masks import Masks, masked
from prune.probe import Call, device_of, is_floating
from prune.weights import places

Tensors = dict[str, Tensor]
Modes = Sequence[AbstractContextManager[object]]
Setting = tuple[object, str, object]  # owner, name, value

BACKENDS: Any = torch.backends  # its stubs lack some of these settings
PRECISION: list[Setting] = [  # full float32 products and repeatable convolutions
    (BACKENDS.cudnn, "benchmark", False),
    (BACKENDS.cudnn, "deterministic", True),
    (BACKENDS.cuda.matmul, "fp32_precision", "ieee"),
    (BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
    (BACKENDS.mkldnn.matmul, "fp32_precision", "ieee"),
    (BACKENDS.mkldnn.conv, "fp32_precision", "ieee"),
]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Set eval mode, and `settings`; restore every attribute of all modules, also on errors."""
    with restored(model), settings(model), torch.enable_grad(), without_detours():
        model.eval()
        without_guards(model)
        yield


@contextmanager
def settings(model: nn.Module) -> Iterator[None]:
    """Set no autocast, no TF32, repeatable kernels, and no inference mode for a while."""
    quiet = torch.autocast(device_of(model).type, enabled=False)
    with torch.inference_mode(False), quiet, _full_precision():
        yield


@contextmanager
def _full_precision() -> Iterator[None]:
    """Set PRECISION, for all of torch."""
    wanted = [each for each in PRECISION if getattr(each[0], each[1]) != each[2]]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    try:
        _set(wanted)
        yield
    finally:
        _set(before)


def _set(settings: Iterable[Setting]) -> None:
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
    found = differentiated(R, theta, create_graph)
    return dict(zip(names, found, strict=True))


def differentiated(R: Tensor, by: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    """Return dR/dtheta for a list of tensors, 0 where R does not depend on one.

    Raises:
        ValueError: If R has no gradient at all, or torch lacks the derivative of an operation.
    """
    if not R.requires_grad:
        raise ValueError("the model cannot be scored: its output has no gradient (torch.no_grad?)")
    try:
        return list(
            torch.autograd.grad(
                R, by, allow_unused=True, materialize_grads=True, create_graph=create_graph
            )
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"the model cannot be scored: its gradient fails ({reason})") from error


def output(
    model: nn.Module,
    tensors: Tensors,
    call: Call,
    dtype: torch.dtype,
    direct: bool = False,
    modes: Modes = (),
) -> Any:
    """Return the result of the model for a call, with `tensors` in place of its own.

    Args:
        model: In eval mode, as `undisturbed` sets it.
        tensors: name -> tensor; all others are copied.
        call: The arguments, which the model may change in place.
        dtype: Of the pass.
        direct: Use the tensor of a parametrised weight as the weight itself.
        modes: To run the model in; the last one gets each function first.

    Raises:
        ValueError: If the model itself raises an error; names the cure.
    """
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    by_id = {id(named[name]): tensor for name, tensor in tensors.items()}
    computed = [p for p in places(model) if p.computed and id(p.trained) in by_id] if direct else []
    with swapped(model, by_id, dtype), default_dtype(dtype), ExitStack() as stack:
        for place in computed:
            stack.enter_context(given(place, by_id[id(place.trained)]))
        for mode in (*modes, InDtype(dtype)):
            stack.enter_context(mode)
        try:
            return inner(model)(*call.args, **call.kwargs)
        except Exception as error:  # the model's own code may raise any kind
            raise ValueError(_failed(error, call, dtype)) from error


def _failed(error: Exception, call: Call, dtype: torch.dtype) -> str:
    """Return one sentence about an error of the model."""
    shapes = [
        tuple(t.shape) if isinstance(t, Tensor) else type(t).__name__
        for t in tree_leaves(tuple(call))
    ]
    reason = " ".join(str(error).split())[:200]
    cure = "Probe(example=...) takes what the model is called with"
    if any(word in reason for word in ("vmap", "functorch", "being transformed")):
        cure = "torch.vmap and torch.func have no reading: write the loop out, or score with data"
    if any(word in reason for word in ("dtype", "Double", "double", "Float", "scalar type")):
        cure = f"it may need score_dtype=torch.float32; {cure}"
    return (
        f"the model cannot be scored: called with {', '.join(map(str, shapes))} in {dtype} it "
        f"raises {type(error).__name__} ({reason}); {cure}"
    )


@contextmanager
def observe(model: nn.Module, record: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call record(name, output) after each run of a prunable layer; remove the hooks at the end."""

    def hook(name: str) -> Callable[..., None]:
        return lambda layer, inputs, out: record(name, _first(out))

    hooks = [
        place.layer.register_forward_hook(hook(place.name))
        for place in places(model)
        if not isinstance(place.layer, torch.jit.ScriptModule)
    ]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def _first(out: Any) -> Tensor:
    """Return the first floating tensor of a layer's result."""
    return next(t for t in tree_leaves(out) if is_floating(t))
