"""The channels of a layer that none of some weights reads or writes."""

from torch import Tensor, nn

from prune.masks import Masks
from prune.weights import places


def dead_channels(model: nn.Module, masks: Masks) -> dict[str, tuple[int, int]]:
    """Map the name of each mask to the numbers of inputs and outputs where it is False throughout.

    Args:
        model: The network.
        masks: name -> bool tensor of a prunable weight; those of `effective` count all that is
            dead, also where weights are kept that lead nowhere.
    """
    layers = {place.name: place.layer for place in places(model)}
    return {name: _dead(layers[name], mask) for name, mask in masks.items()}


def _dead(layer: nn.Module, mask: Tensor) -> tuple[int, int]:
    """Count the dead inputs and outputs of a layer, in each of its groups."""
    joins = mask.reshape(*mask.shape[:2], -1).any(2).unflatten(0, (getattr(layer, "groups", 1), -1))
    if _inputs_first(layer):
        joins = joins.transpose(1, 2)
    read, written = joins.any(1), joins.any(2)  # (groups, inputs), (groups, outputs)
    return int((~read).sum()), int((~written).sum())


def _inputs_first(layer: nn.Module) -> bool:
    """True for the weights of shape (inputs, outputs, ...)."""
    return getattr(layer, "transposed", False) or type(layer).__name__ == "Conv1D"
