"""Facts of a network that is not built in memory."""

from functools import cache

import torch
from torch import nn

from prune.over_batches import BATCH_NORM
from prune.weights import chosen, prunable
from train.data import known
from train.models import build, input_shape


@cache
def network_facts(
    model: str, dataset: str, width: float, init: str, exclude: tuple[str, ...]
) -> tuple[int, bool]:
    """N, and True if there is batch norm; without building the network in memory.

    Raises:
        ValueError: If there is no such network for images of this shape, or a pattern of
            `exclude` fits none of its weights, or nothing is left.
    """
    images = known(dataset)
    with torch.device("meta"):
        network = build(model, input_shape(model, images.shape), images.classes, width, init)
    size = sum(weight.numel() for weight in _selected(network, exclude).values())
    return size, any(isinstance(module, BATCH_NORM) for module in network.modules())


def _selected(network: nn.Module, exclude: tuple[str, ...]) -> dict[str, nn.Parameter]:
    """The prunable weights that no pattern excludes.

    Raises:
        ValueError: If a pattern fits no weight, or none is left; in the words of the command line.
    """
    excluded = chosen(network, exclude, "--exclude")
    left = {name: w for name, w in prunable(network).items() if name not in excluded}
    if not left:
        raise ValueError(f"--exclude {','.join(exclude)} leaves nothing to prune")
    return left
