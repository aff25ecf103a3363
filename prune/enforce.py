"""Hold pruned weights at 0 for good, in a model that stays an ordinary model.

Names, classes, state_dict keys and parameters do not change. Each pruned weight has a mask in a
buffer beside it, which follows it through `.to()` and `deepcopy`. Three guards use it:

* Pruned weights are set to 0 before each forward pass, before `state_dict()` and after
  `load_state_dict()`.
* Their gradient is set to 0 after each backward pass.
* They are set to 0 after each step of any torch optimizer, which may move them by momentum from
  before pruning. This takes one hook for all optimizers, registered at the first `apply`.
"""

import weakref
from collections.abc import Iterator
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from prune.masks import Masks, check_masks, prunable

MASK = "weight_mask"
_layer_of = WeakTensorKeyDictionary()  # guarded weight -> weak reference to its layer


def apply(model: nn.Module, masks: Masks) -> None:
    """Set pruned weights to 0, in every forward pass from now on (Algorithm 1, line 7).

    They stay 0 under any optimizer, with momentum from before, weight decay, deepcopy and a
    state_dict saved or loaded at any time. Applying again replaces the masks. The first call in
    a process registers one hook that runs after each step of every torch optimizer.

    Args:
        model: Changed in place; keeps its class, parameter names and state_dict keys.
        masks: name -> bool tensor, shaped like the weight of that name; True = kept. Copied.

    Raises:
        ValueError: If a mask fits no prunable weight; then nothing is changed.
    """
    check_masks(model, masks)
    weights = prunable(model)
    for name, mask in masks.items():
        weight = weights[name]
        for layer in _layers_with(model, weight):
            if MASK not in layer._buffers:
                _watch(model, layer)
            # In the weight's dtype: a product with a bool tensor takes six times as long.
            setattr(layer, MASK, mask.detach().to(weight))
            _zero_pruned(layer)


def release(model: nn.Module) -> nn.Module:
    """Set pruned weights to 0 once more, then remove the masks.

    Returns:
        The same model; its weights may grow back from now on.
    """
    for layer in model.modules():
        if layer._buffers.get(MASK) is not None:
            _zero_pruned(layer)
            layer._buffers[MASK] = None
    return model


def _layers_with(model: nn.Module, weight: nn.Parameter) -> list[nn.Module]:
    """Return all layers that share the weight."""
    return [layer for layer in model.modules() if layer._parameters.get("weight") is weight]


def _watch(model: nn.Module, layer: nn.Module) -> None:
    """Give the layer an empty mask, and register the hooks that apply it."""
    layer.register_buffer(MASK, None, persistent=False)
    layer.register_state_dict_pre_hook(_zero_pruned)
    layer.register_load_state_dict_post_hook(_zero_pruned)
    for runner in _runners(model, layer):
        runner.register_forward_pre_hook(_zero_pruned)


def _runners(model: nn.Module, layer: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules whose forward pass uses the layer's weight."""
    yield layer
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention) and module.out_proj is layer:
            yield module  # reads its projection's weight and never calls it


def _zero_pruned(module: nn.Module, *_: object) -> None:
    """Set the pruned weights of a module and of its children to 0."""
    for layer in (module, *module.children()):
        mask = layer._buffers.get(MASK)
        if mask is not None:
            weight = cast(Tensor, layer.weight)
            # .data, because autograd's version counter must not move between two passes.
            weight.data.mul_(mask)
            if not torch.compiler.is_compiling():
                _guard(weight, layer)


def _guard(weight: Tensor, layer: nn.Module) -> None:
    """Register the guards of gradient and optimizer step, once per weight (a deepcopy is new)."""
    if _mask_of(weight) is None and isinstance(weight, nn.Parameter) and weight.requires_grad:
        _layer_of[weight] = weakref.ref(layer)
        weight.register_post_accumulate_grad_hook(_zero_gradient)
        _watch_optimizers()


def _mask_of(weight: Tensor) -> Tensor | None:
    """Return the mask of the layer that guards the weight, if that layer still exists."""
    found = _layer_of.get(weight)
    layer = None if found is None else found()
    return None if layer is None else layer._buffers[MASK]


def _zero_gradient(weight: Tensor) -> None:
    """Set the gradient of pruned weights to 0."""
    mask = _mask_of(weight)
    if mask is not None and weight.grad is not None:
        weight.grad.mul_(mask)  # in place: a product of its own takes twice as long


def _zero_after_step(optimizer: Optimizer, *_: object) -> None:
    """Set the pruned weights among an optimizer's parameters to 0."""
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    guarded = [(weight.data, mask) for weight in weights if (mask := _mask_of(weight)) is not None]
    if guarded:
        data, masks = zip(*guarded, strict=True)
        torch._foreach_mul_(list(data), list(masks))


@cache
def _watch_optimizers() -> RemovableHandle:
    """Register the guard of optimizer steps, once per process."""
    return register_optimizer_step_post_hook(_zero_after_step)
