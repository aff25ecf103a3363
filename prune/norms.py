"""Weights that are divided by their norm: a mask may not leave a norm of 0.

weight_norm computes g v / |v| for each output. Where a mask empties an output, its v stays and its
g is held at 0, so that the weight is 0 and not 0 / 0.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from prune.masks import Masks
from prune.weights import Place, places

NAMES = ("_WeightNorm", "_SpectralNorm")  # of torch.nn.utils.parametrizations


class Norm(NamedTuple):
    """A norm that divides a weight."""

    v: str  # name of the trained tensor
    g: str | None  # name of the lengths of its outputs; None if there is one norm for all
    dim: int  # of the outputs


def with_norms(model: nn.Module, masks: Masks) -> dict[str, Tensor]:
    """Return the masks to hold: with those of g, and v kept where an output is emptied.

    Raises:
        ValueError: If a mask empties a whole weight that is divided by one norm.
    """
    held = dict(masks)
    for norm in _norms(model):
        if norm.v not in masks:
            continue
        alive = _alive(norm, masks[norm.v])
        if norm.g is not None:
            held[norm.v] = masks[norm.v] | ~alive
            held[norm.g] = alive.reshape(model.get_parameter(norm.g).shape)
        elif not alive.any():
            raise ValueError(
                f"the mask of {norm.v} leaves a norm of 0, by which the weight is divided; keep it "
                "dense with `exclude`, or remove the norm before `apply`"
            )
    return held


def without_norms(model: nn.Module, held: Masks) -> dict[str, Tensor]:
    """Return the masks that `with_norms` was given."""
    masks = dict(held)
    for norm in _norms(model):
        if norm.v in masks and norm.g in masks:
            alive = masks.pop(norm.g)
            masks[norm.v] = masks[norm.v] & alive.reshape(_alive(norm, masks[norm.v]).shape)
    return masks


def _alive(norm: Norm, mask: Tensor) -> Tensor:
    """Return True for outputs with a kept weight, in a shape that fits the mask."""
    if norm.g is None:
        return mask.any().reshape([1] * mask.dim())
    others = [dim for dim in range(mask.dim()) if dim != norm.dim]
    return torch.amax(mask.view(torch.uint8), others, keepdim=True).bool()


def _norms(model: nn.Module) -> list[Norm]:
    """Return the norms of all weights that weight_norm and spectral_norm compute."""
    found = []
    for place in places(model):
        norm = _norm(place) if place.computed else None
        if norm is not None:
            dim = getattr(norm, "dim", -1) if "Weight" in type(norm).__name__ else -1
            v, ends = place.name, (("original1", "original0"), ("_v", "_g"))
            lengths = [v.removesuffix(end) + other for end, other in ends if v.endswith(end)]
            by_output = dim is not None and dim >= 0
            found.append(Norm(v, lengths[0] if by_output else None, dim if by_output else 0))
    return found


def _norm(place: Place) -> Any:
    """Return the weight_norm or spectral_norm that computes the matrix, or None."""
    parametrizations: Any = getattr(place.layer, "parametrizations", {})
    chain = parametrizations[place.attribute] if place.attribute in parametrizations else ()
    hooks = place.layer._forward_pre_hooks.values()
    found = [one for one in chain if type(one).__name__ in NAMES]
    found += [hook for hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)]
    return found[0] if found else None
