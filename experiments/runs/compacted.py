"""The network that a run trains: without the channels that nothing reads, where there are any."""

import torch
from torch import nn

from experiments.config import RunConfig
from experiments.runs.build import probe_shape
from experiments.runs.flops import step_flops
from experiments.runs.progress import Progress
from prune import masks_of
from prune.compact import trainable
from train.part import Part


def to_train(
    config: RunConfig, model: nn.Module, progress: Progress
) -> tuple[nn.Module, Part | None]:
    """The network to train in the place of the whole one, and how it lies in it.

    Returns:
        The model itself and None if all of its channels are read, or without `compact`.

    Raises:
        ValueError: If `compact` is wanted and the network cannot be made smaller.
    """
    masks = masks_of(model)
    if config.compact is False or all(mask.all() for mask in masks.values()):
        return model, None
    example = torch.zeros(2, *probe_shape(config), device=config.device)
    try:
        small, places = trainable(model, masks, example)
    except ValueError as error:
        if config.compact:
            raise ValueError(f"{error}; without --compact it is trained as it is") from None
        progress.note(f"trained with all channels: {error}")
        return model, None
    return (small, Part(model, places)) if places else (model, None)


def trained_facts(config: RunConfig, whole: nn.Module, net: nn.Module) -> dict:
    """The entry `trained` of result.json: the size of the network that is trained, and of all.

    A step is a forward and a backward pass of a whole batch; multiplications and additions are
    counted, those with a 0 included.
    """
    facts = _size(config, whole)
    own = facts if net is whole else _size(config, net)
    return own | {f"all_{name}": number for name, number in facts.items()}


def _size(config: RunConfig, net: nn.Module) -> dict[str, int]:
    image = torch.zeros(1, *probe_shape(config), device=config.device)
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "step_flops": config.batch_size * step_flops(net, image),
    }
