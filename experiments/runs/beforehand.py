"""Checks of a run's network before any work: what would fail late fails at once."""

import copy
from dataclasses import replace

import torch
from torch import nn

from experiments.config import RunConfig
from experiments.runs.build import initial_model, probe_shape
from experiments.unbuilt import check_steps
from prune import prunable
from train.foreign import is_code
from train.ranks import ranks


def check_network(config: RunConfig) -> None:
    """Build the network if that is needed to know, and check it.

    Raises:
        ValueError: If masks of it cannot be saved, it has fewer weights than there are pruning
            steps, nothing in it can be trained, or its batch norm would get a batch of one image.
    """
    least = _smallest_share(config)
    if not is_code(config.model) and least > 1:
        return
    model = initial_model(replace(config, device="cpu"))
    if is_code(config.model):
        _check_weights(config, model)
    if config.epochs and least == 1 and _fails_alone(config, model):
        raise ValueError(
            f"with --batch-size {config.batch_size} a batch of the {_images(config)} images has "
            f"1 image{' on a rank' if ranks() > 1 else ''}, with which {config.model} cannot be "
            "trained; give another size"
        )


def _images(config: RunConfig) -> int:
    return config.train_images or config.data.train_size


def _smallest_share(config: RunConfig) -> int:
    """The least number of images that a rank gets of a batch, if it gets any."""
    whole = min(config.batch_size, _images(config))
    last = _images(config) % whole or whole
    return min(max(1, batch // ranks()) for batch in (whole, last))


def _check_weights(config: RunConfig, model: nn.Module) -> None:
    weights = prunable(model, exclude=config.exclude)
    if hidden := [name for name in weights if name.startswith("__")]:
        raise ValueError(
            f"{config.model}: the name of {hidden[0]} begins with __, which mask files keep for "
            "other entries; rename its module"
        )
    check_steps(config.steps, sum(weight.numel() for weight in weights.values()))
    trained = any(parameter.requires_grad for parameter in model.parameters())
    if config.epochs and not trained:
        raise ValueError(
            f"{config.model}: all parameters are frozen (requires_grad is False), so that nothing "
            "can be trained; --epochs 0 prunes only"
        )


def _fails_alone(config: RunConfig, model: nn.Module) -> bool:
    """True if the network takes two images in training and not one, as with batch norm."""
    return _runs(config, model, 2) and not _runs(config, model, 1)


def _runs(config: RunConfig, model: nn.Module, count: int) -> bool:
    net = copy.deepcopy(model).train()
    try:
        with torch.no_grad():
            net(torch.zeros(count, *probe_shape(config)))
    except ValueError:
        return False
    return True
