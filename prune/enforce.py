"""Hold pruned weights at 0 for good, in a model that stays an ordinary model.

Names, classes, state_dict keys and parameters stay what they were. Three guards share one
mask, a buffer beside each weight that follows it through `.to()` and `deepcopy`:
before each forward pass, each `state_dict()` and after each `load_state_dict()` the pruned
weights are set to 0; their `.grad` is 0; and after each step of any torch optimizer (momentum
gathered before pruning would move them) they are set to 0 again.
"""

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

from prune.masks import Masks, check_masks, prunable

MASK = "weight_mask"
_layer_of = WeakTensorKeyDictionary()  # guarded weight -> weak reference to its layer


def apply(model: nn.Module, masks: Masks) -> None:
    """Set pruned weights to 0, in every forward pass from now on (Algorithm 1, line 7).

    Holds under any optimizer, with momentum from before, weight decay, deepcopy and a
    state_dict saved or loaded at any time. Applying again replaces the masks.

    Args:
        model: Changed in place; keeps its class, parameter names and state_dict keys.
        masks: name -> bool tensor, shaped like the weight of that name; True = kept.

    Raises:
        ValueError: If a mask fits no prunable weight; then nothing is changed.
    """
    check_masks(model, masks)
    weights = prunable(model)
    for name, mask in masks.items():
        for layer in _layers_with(model, weights[name]):
            if MASK not in layer._buffers:
                _watch(model, layer)
            # In the weight's dtype: a product with a bool tensor takes six times as long.
            setattr(layer, MASK, mask.detach().to(layer.weight))
            _zero_pruned(layer)


def release(model: nn.Module) -> nn.Module:
    """Zero the pruned weights once more, then let go of the masks; the same model."""
    for layer in model.modules():
        if layer._buffers.get(MASK) is not None:
            _zero_pruned(layer)
            layer._buffers[MASK] = None
    return model


def _layers_with(model: nn.Module, weight: nn.Parameter) -> list[nn.Module]:
    """All layers that share the weight."""
    return [layer for layer in model.modules() if layer._parameters.get("weight") is weight]


def _watch(model: nn.Module, layer: nn.Module) -> None:
    layer.register_buffer(MASK, None, persistent=False)
    layer.register_state_dict_pre_hook(_zero_pruned)
    layer.register_load_state_dict_post_hook(_zero_pruned)
    for runner in _runners(model, layer):
        runner.register_forward_pre_hook(_zero_pruned)


def _runners(model: nn.Module, layer: nn.Module) -> Iterator[nn.Module]:
    """The modules whose forward pass uses the layer's weight."""
    yield layer
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention) and module.out_proj is layer:
            yield module  # reads its projection's weight and never calls it


def _zero_pruned(module: nn.Module, *_: object) -> None:
    for layer in (module, *module.children()):
        mask = layer._buffers.get(MASK)
        if mask is not None:
            weight = layer.weight
            # .data: autograd's version counter must not move: nothing changes between two passes.
            weight.data.mul_(mask)
            if not torch.compiler.is_compiling():
                _guard(weight, layer)


def _guard(weight: Tensor, layer: nn.Module) -> None:
    """Zero the gradient and the optimizer's step; once per weight, so again after a deepcopy."""
    if _mask_of(weight) is None and isinstance(weight, nn.Parameter) and weight.requires_grad:
        _layer_of[weight] = weakref.ref(layer)
        weight.register_post_accumulate_grad_hook(_zero_gradient)


def _mask_of(weight: Tensor) -> Tensor | None:
    """That of the layer which guards the weight, if one does and is still there."""
    found = _layer_of.get(weight)
    layer = None if found is None else found()
    return None if layer is None else layer._buffers[MASK]


def _zero_gradient(weight: Tensor) -> None:
    mask = _mask_of(weight)
    if mask is not None:
        weight.grad.mul_(mask)  # in place: a product of its own takes twice as long


def _zero_after_step(optimizer: Optimizer, *_: object) -> None:
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    guarded = [(weight.data, mask) for weight in weights if (mask := _mask_of(weight)) is not None]
    if guarded:
        torch._foreach_mul_(*map(list, zip(*guarded)))


register_optimizer_step_post_hook(_zero_after_step)
