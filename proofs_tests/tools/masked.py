"""A small network and masks for the tests of `apply`, `release` and exchange."""

import torch
from torch import nn


def network() -> nn.Sequential:
    """A convolution, a normalisation and a linear layer, the same at each call."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def half_of(model: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random masks for all parameters of two or more dimensions."""
    generator = torch.Generator().manual_seed(seed)
    named = ((name, p.shape) for name, p in model.named_parameters() if p.dim() > 1)
    return {name: torch.rand(shape, generator=generator) < 0.5 for name, shape in named}


def x(n: int = 5) -> torch.Tensor:
    return torch.randn(n, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def train(model: nn.Module, *inputs: torch.Tensor) -> None:
    """Three steps with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(*(inputs or (x(),))).square().mean().backward()
        optimizer.step()


def alive(weight: torch.Tensor, mask: torch.Tensor) -> int:
    """Count the pruned weights that are not 0."""
    return int((weight[~mask] != 0).sum())
