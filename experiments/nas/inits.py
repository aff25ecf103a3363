"""Initial weights by the names of --mean-init: their moments, and the flow of some draws."""

from math import exp, log, sqrt
from statistics import mean, stdev

import torch
from torch import nn

from prune import prunable
from prune.architecture import Init, Moments, kaiming_normal_fan_out, log_flow, normal, uniform
from train import initial

OF_NAS_BENCH_201 = {"published": "fan_out"}  # what FreeREA drew


def moments(init: str, name: str, network: nn.Module) -> str | Init:
    """Return the init of `architecture_flow` for a model.

    Args:
        init: "paper", "torch", or "published": what `train.initial.published` draws.
        name: The model's name.
        network: Its weights are drawn anew.

    Raises:
        ValueError: If published weights of this model are not known.
    """
    if init != "published":
        return init
    initial.published(network, name)
    vgg = name.startswith("vgg")
    if vgg and sum(isinstance(layer, nn.Linear) for layer in network.modules()) == 1:
        return "paper"

    def of_layer(weight: str, shape: torch.Size) -> Moments:
        if len(shape) > 2:
            return kaiming_normal_fan_out(weight, shape)
        return normal(0.01**2) if vgg else uniform(weight, shape)

    return of_layer


def draw(init: str, name: str, network: nn.Module) -> None:
    """Draw all prunable weights anew."""
    for weight in prunable(network).values():
        if init == "paper":
            nn.init.kaiming_normal_(weight)
        else:
            nn.init.kaiming_uniform_(weight, a=sqrt(5))  # +- 1 / sqrt(fan_in)
    if init == "published":  # which leaves some as PyTorch draws them
        initial.published(network, name)


def drawn_flow(
    init: str, name: str, network: nn.Module, shape: tuple[int, int, int], draws: int
) -> tuple[float, float]:
    """Return the log of the mean R of some draws, and the relative standard deviation of R.

    The network has a path from input to output. The seeds are 0, 1, ...
    """
    logs = []
    for seed in range(draws):
        torch.manual_seed(seed)
        draw(init, name, network)
        logs.append(log_flow(network, shape))
    ratios = [exp(value - max(logs)) for value in logs]
    return max(logs) + log(mean(ratios)), stdev(ratios) / mean(ratios)
