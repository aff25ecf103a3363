"""Facts of a network that is not built in memory."""

import os
from functools import cache
from math import inf

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from prune.over_batches import BATCH_NORM
from prune.pruning import default_steps
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
    with torch.device("meta"), _Undrawn():
        network = build(model, input_shape(model, images.shape), images.classes, width, init)
    size = sum(weight.numel() for weight in _selected(network, exclude).values())
    return size, any(isinstance(module, BATCH_NORM) for module in network.modules())


class _Undrawn(TorchFunctionMode):
    """In the block no normal numbers are drawn: without memory, torch needs seconds for none."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.normal_:
            return args[0]
        return function(*args, **kwargs or {})


def affordable_facts(
    model: str, dataset: str, width: float, init: str, exclude: tuple[str, ...]
) -> tuple[int, bool]:
    """The same as `network_facts`; a network that fits in no memory is refused.

    Raises:
        ValueError: Also if the weights need more than this machine's memory.
    """
    try:
        size, normalised = network_facts(model, dataset, width, init, exclude)
    except (RuntimeError, TypeError, OverflowError):
        if width == 1:
            raise
        raise ValueError(f"--width {width:g} makes the network too large for tensors") from None
    if 4 * size > memory():
        raise ValueError(
            f"--width {width:g} makes the network too large: {size:,} weights need "
            f"{4 * size / 2**30:,.0f} GiB, and this machine has {memory() / 2**30:,.0f}"
        )
    return size, normalised


def memory() -> float:
    """Bytes of this machine's memory; infinity where the system does not show them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return inf


def check_steps(steps: int | None, size: int) -> None:
    """Refuse more pruning steps than there are weights, unless that many are usual."""
    most = max(size, default_steps("synflow"))
    if steps is not None and steps > most:
        raise ValueError(
            f"--steps and --cycles must be at most {most}, not {steps}: the network has {size} "
            "prunable weights"
        )


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
