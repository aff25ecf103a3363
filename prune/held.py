"""The weights that are held at 0, each with its mask, and the guards of a training step.

A weight is known by itself, whichever modules have it. Its mask is kept in its own dtype and
memory format: a product with a bool tensor takes six times as long.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from prune import sharing


@dataclass
class Held:
    """A mask as bool and, for products, as numbers; and the hook on the gradient."""

    kept: Tensor
    product: Tensor
    hook: RemovableHandle | None = None


_held = WeakTensorKeyDictionary()  # weight -> Held


def hold(weight: nn.Parameter, kept: Tensor) -> Tensor:
    """Guard a weight's gradient and the optimizer's steps from now on; replace its mask if held.

    Returns:
        The mask in the weight's dtype.
    """
    let_go(weight)
    _held[weight] = Held(kept, _product(weight, kept))
    _watch_optimizers()
    mask = mask_of(weight)
    assert mask is not None
    return mask


def mask_of(weight: Tensor) -> Tensor | None:
    """Return the mask of a held weight as numbers like the weight; None for other tensors."""
    held = _held.get(weight)
    if held is None:
        return None
    if held.hook is None and weight.requires_grad:
        held.hook = weight.register_post_accumulate_grad_hook(_zero_gradient)
    if not weight.is_meta and not _alike(
        held.product, weight
    ):  # the model has moved to another dtype or device
        held.kept.data = held.kept.data.to(weight.device)
        held.product = _product(weight, held.kept)
    return held.product


def let_go(weight: Tensor) -> None:
    """Stop guarding a weight, if it is held."""
    held = _held.pop(weight, None)
    if held is not None and held.hook is not None:
        held.hook.remove()


def as_kept(mask: Tensor, weight: Tensor) -> Tensor:
    """Return a copy of a bool mask on the weight's device, sharded as the weight is."""
    device = mask.device if weight.is_meta else weight.device
    mask = mask.detach().to(device, copy=True)
    return _shard(mask, weight) if sharded(weight) and not sharded(mask) else mask


def _shard(mask: Tensor, weight: Any) -> Tensor:
    """Return this rank's part of a mask. Each rank has the whole mask, so nothing is sent."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(mask, weight.device_mesh, weight.placements, src_data_rank=None)


def sharded(tensor: Tensor) -> bool:
    """Return True for a DTensor: a part of it is on each rank."""
    return hasattr(tensor, "to_local")


def _alike(mask: Tensor, weight: Tensor) -> bool:
    """Compare dtype, device and memory format."""
    return (
        mask.dtype == weight.dtype
        and mask.device == weight.device
        and mask.stride() == weight.stride()
    )


def _product(weight: Tensor, kept: Tensor) -> Tensor:
    """Return the mask as numbers, in the dtype and memory format of the weight."""
    with torch.inference_mode(False), torch.no_grad():
        return torch.empty_like(weight.data).copy_(kept)


def _zero_gradient(weight: Tensor) -> None:
    """Set the gradient of pruned weights to 0."""
    mask = mask_of(weight)
    if mask is not None and weight.grad is not None:
        weight.grad.mul_(mask)  # in place: a product of its own takes twice as long


def _zero_after_step(optimizer: Optimizer, *_: object) -> None:
    """Set the pruned weights among an optimizer's parameters to 0."""
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    held = [(weight.data, mask) for weight in weights if (mask := mask_of(weight)) is not None]
    if held:
        data, masks = zip(*held, strict=True)
        torch._foreach_mul_([_local(t) for t in data], [_local(mask) for mask in masks])
        sharing.compare_once()


def _local(tensor: Any) -> Tensor:
    """Return this rank's part of a tensor."""
    return tensor.to_local() if sharded(tensor) else tensor


@cache
def _watch_optimizers() -> RemovableHandle:
    """Register the guard of optimizer steps, once per process."""
    return register_optimizer_step_post_hook(_zero_after_step)
