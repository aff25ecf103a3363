"""Hold pruned weights at 0 for good, in a model that stays an ordinary model.

Names, classes, state_dict keys and parameters stay what they were. Three guards share one
mask, a buffer beside each weight that follows it through `.to()` and `deepcopy`:
before each forward pass, each `state_dict()` and after each `load_state_dict()` the pruned
weights are set to 0; their gradient is 0; and after each step of any torch optimizer (momentum
gathered before pruning would move them) they are set to 0 again.
"""

import weakref

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

from prune.masks import Masks, check_masks

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
    for name, mask in masks.items():
        layer = model.get_submodule(name.rpartition(".")[0])
        if not hasattr(layer, MASK):
            layer.register_buffer(MASK, None, persistent=False)
            layer.register_forward_pre_hook(_zero_pruned)
            layer.register_state_dict_pre_hook(_zero_pruned)
            layer.register_load_state_dict_post_hook(_zero_pruned)
        # In the weight's dtype: a product with a bool tensor takes six times as long.
        setattr(layer, MASK, mask.detach().to(layer.weight, copy=True))
        _zero_pruned(layer)


def _zero_pruned(layer: nn.Module, *_: object) -> None:
    # .data: autograd's version counter must not move, since nothing changes between two passes.
    layer.weight.data.mul_(getattr(layer, MASK))
    if not torch.compiler.is_compiling():
        _guard(layer)


def _guard(layer: nn.Module) -> None:
    """Zero the gradient and the optimizer's step; once per weight, so again after a deepcopy."""
    weight = layer.weight
    if isinstance(weight, nn.Parameter) and weight not in _layer_of:
        _layer_of[weight] = this = weakref.ref(layer)
        if weight.requires_grad:
            weight.register_hook(lambda gradient: gradient * getattr(this(), MASK))


def _zero_after_step(optimizer: Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            layer = _layer_of.get(weight)
            if layer is not None and layer() is not None:
                weight.data.mul_(getattr(layer(), MASK))


register_optimizer_step_post_hook(_zero_after_step)
