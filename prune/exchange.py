"""Masks and scores to and from other forms: a model, and torch.nn.utils.prune."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import prune as theirs

from prune.enforce import guard_of, release
from prune.masks import Masks, Scores
from prune.moved import place_of
from prune.norms import without_norms
from prune.weights import Choice, prunable


def masks_of(
    model: nn.Module, layers: Choice | None = None, exclude: Choice = ()
) -> dict[str, Tensor]:
    """Read masks off a model, for instance to go on from a checkpoint alone.

    Masks that hold in the model are returned as they are: those of `apply`, and those of
    torch.nn.utils.prune at the tensor that is trained (`0.weight_orig`). A model without any
    gives its zeros: each weight other than 0 is kept. So a tensor of zeros reads as pruned.

    Args:
        model: Not changed. If it is sharded, all ranks call this.
        layers: Patterns or a predicate, as for `prune`; None: all weights.
        exclude: Patterns or a predicate; their weights are left out.

    Returns:
        name -> bool tensor, in the order of `named_parameters`.

    Raises:
        ValueError: If the model has no prunable weight.
    """
    held = _held_masks(model)
    if held and layers is None and not exclude:
        return held
    chosen = prunable(model, layers, exclude)
    if held:
        return {name: mask for name, mask in held.items() if name in chosen}
    return {name: _whole(weight.detach() != 0) for name, weight in chosen.items()}


def to_torch(model: nn.Module, masks: Masks) -> nn.Module:
    """Hand the masks over to torch.nn.utils.prune, which holds them from now on.

    Args:
        model: Changed in place. Masks of `apply` are removed from it.
        masks: name -> bool tensor, as for `apply`.

    Returns:
        The same model, with `weight_orig` and `weight_mask` beside each masked `weight`.

    Raises:
        ValueError: If a mask fits no parameter of the model; then nothing is changed.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    owners = [
        (names[id(weight)], module, attribute)
        for module in model.modules()
        for attribute, weight in module._parameters.items()
        if weight is not None
    ]
    if unknown := set(masks) - set(names.values()):
        raise ValueError(f"mask {min(unknown)!r} fits no parameter of this model")
    release(model)
    for name, module, attribute in owners:
        if name in masks:
            theirs.custom_from_mask(module, _plain(module, attribute), masks[name])
    return model


def importance(model: nn.Module, scores: Scores) -> dict[tuple[nn.Module, str], Tensor]:
    """Return scores as torch.nn.utils.prune.global_unstructured takes them.

    Args:
        model: The model that was scored.
        scores: name -> tensor, shaped like the parameter of that name.

    Returns:
        (module, "weight") -> tensor: its `importance_scores`, and its keys are the `parameters`.

    Raises:
        ValueError: If a name fits no parameter of the model.
    """
    parameters = dict(model.named_parameters())
    if unknown := set(scores) - set(parameters):
        raise ValueError(f"score {min(unknown)!r} fits no parameter of this model")
    found = {}
    for name, score in scores.items():
        owner, _, attribute = name.rpartition(".")
        module = model.get_submodule(owner)
        found[module, _plain(module, attribute)] = score
    return found


def _held_masks(model: nn.Module) -> dict[str, Tensor]:
    """Return the masks of our guards and of torch.nn.utils.prune, in the order of parameters."""
    found = dict(_theirs(model))
    for name, mask in _ours(model):
        found[name] = found[name] & mask if name in found else mask
    ordered = {name: found[name] for name, _ in model.named_parameters() if name in found}
    return without_norms(model, ordered)


def _ours(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the masks of `apply`, each under the name of the tensor that is trained now."""
    for name, module in model.named_modules():
        guard = guard_of(module)
        for path, kept in guard.masks.items() if guard else ():
            place = place_of(module, path, kept)
            if place is not None:
                yield f"{name}.{place}".lstrip("."), _whole(kept).clone()


def _theirs(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the masks of torch.nn.utils.prune."""
    for name, module in model.named_modules():
        for buffer, mask in module._buffers.items():
            trained = buffer.removesuffix("_mask") + "_orig"
            if buffer.endswith("_mask") and mask is not None and trained in module._parameters:
                yield f"{name}.{trained}".lstrip("."), mask != 0


def _plain(module: nn.Module, attribute: str) -> str:
    """Return the name by which torch.nn.utils.prune knows a tensor that it may have renamed."""
    name = attribute.removesuffix("_orig")
    return name if f"{name}_mask" in module._buffers else attribute


def _whole(tensor: Any) -> Tensor:
    """Return a sharded tensor as one."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
