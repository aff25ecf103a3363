"""Find the trained tensor of a weight that other code has replaced since the masks were applied.

weight_norm, spectral_norm and torch.nn.utils.prune rename the trained tensor, or make a new one.
Fusing layers moves the weight into a child. Sharding puts another tensor in its place.
"""

import re
import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn

WRAPPED = re.compile(r"(?:.*\.)?parametrizations\.(\w+)\.original\d*|(\w+)_(?:v|orig)")


def parameter(module: nn.Module, path: str) -> nn.Parameter | None:
    """Return the parameter with this dotted path below the module, if there is one."""
    *parents, name = path.split(".")
    for parent in parents:
        child = module._modules.get(parent)
        if child is None:
            return None
        module = child
    return module._parameters.get(name)


def place_of(module: nn.Module, path: str, kept: Tensor) -> str | None:
    """Return the path of the tensor that a mask belongs to now; None if nothing trains there.

    Args:
        module: The module that had the weight when masks were applied.
        path: The place of the weight then, e.g. `weight` or `weight_v`.
        kept: Its mask.

    Raises:
        RuntimeError: If no trained tensor fits the mask, or its zeros are no zeros of the weight.
    """
    for place in _places(module, path):
        found = parameter(module, place)
        if found is not None and found.shape == kept.shape:
            _check_zeros(module, place, found, kept)
            return place
    if all(p.dim() < 2 for p in module.parameters()):
        return None  # quantized for inference, or pruned and stored elsewhere: nothing grows
    raise RuntimeError(
        f"the masked {path!r} of a {type(module).__name__} is gone, and no tensor of shape "
        f"{tuple(kept.shape)} has taken its place: call release(model), or apply masks that fit"
    )


def _places(module: nn.Module, path: str) -> Iterator[str]:
    """Yield where the trained tensor may be, the likely ones first."""
    wrapped = WRAPPED.fullmatch(path)
    for name in (path, wrapped and (wrapped[1] or wrapped[2])):
        if name:
            yield from (name, f"{name}_orig", f"{name}_v")
            for end in ("", "0", "1"):
                yield f"parametrizations.{name}.original{end}"
            yield from (f"{child}.{name}" for child, _ in module.named_children())


@torch.no_grad()
def _check_zeros(module: nn.Module, place: str, trained: Tensor, kept: Tensor) -> None:
    """Raise RuntimeError if a parametrization does not keep the zeros of its trained tensor."""
    wrapped = WRAPPED.fullmatch(place)
    if wrapped is None or wrapped[1] is None:
        return
    name = wrapped[1]
    parts = list(module.get_submodule("parametrizations").modules())
    modes = [part.training for part in parts]
    trained.mul_(kept)
    try:
        for part in parts:
            part.training = False  # spectral_norm counts its calls
        weight = getattr(module, name)
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
    lengths = kept.shape != weight.shape and kept.dim() == weight.dim()  # g of weight_norm
    pruned = ~kept.expand_as(weight) if lengths else ~kept
    if weight.shape != pruned.shape or (weight[pruned] != 0).any():
        mixing = module.get_submodule(f"parametrizations.{name}").children()
        kinds = ", ".join(type(part).__name__ for part in mixing)
        raise RuntimeError(
            f"pruned weights of a {type(module).__name__} grow back: {kinds} was put on {name!r} "
            "after apply and mixes weights; put it on before prune, or call release(model)"
        )


def resharded(module: nn.Module) -> bool:
    """Return True if FSDP manages the module; its parameters are the shards from now on.

    During a forward pass, and often after it, whole stand-ins take their place.
    """
    states = sys.modules.get("torch.distributed._composable_state")
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if states is None or fsdp is None:
        return False
    kinds = (fsdp.FSDPModule, fsdp.FullyShardedDataParallel)
    below = set(module.modules())
    managing = [
        unit
        for unit in states._module_state_mapping
        if isinstance(unit, kinds) and (unit in below or module in unit.modules())
    ]
    for unit in managing:
        if isinstance(unit, fsdp.FSDPModule):
            unit.reshard()
    return bool(managing)
