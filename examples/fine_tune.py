"""A trained network, pruned in rounds by magnitude, and fine-tuned after each.

The network is trained here, since nothing is downloaded. `resnet50(weights="DEFAULT")` of
torchvision in place of `trained()` works alike. At initialisation nothing is known of the weights'
use; after training magnitude is a good score, and rounds of pruning and fine-tuning do better than
one round.
"""

import torch
from torch import nn

from examples.own_loop import accuracy, loaders, train_epoch
from synflow import Probe, apply, density, prune


def trained() -> nn.Module:
    """Return a small convolutional network, trained for four epochs."""
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    tune(net, epochs=4, lr=0.1)
    return net


def tune(net: nn.Module, epochs: int, lr: float) -> None:
    """Train by stochastic gradient descent."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    for _ in range(epochs):
        train_epoch(net, loaders()[0], optimizer)


def main(compression: float = 20, rounds: int = 3) -> tuple[nn.Module, list[float]]:
    """Return the network and its accuracies: as it was trained, and after each round.

    Round k of n keeps ceil(N rho^(-k/n)) weights, all of them kept before. The first layer stays
    dense, as it has few weights and all of the network depends on them.
    """
    torch.manual_seed(0)
    net, test = trained(), loaders()[1]
    found, masks = [accuracy(net, test)], None
    print(f"trained: accuracy {found[0]:.3f}")
    for k in range(1, rounds + 1):
        masks = prune(
            net, "magnitude", Probe((3, 16, 16)), compression ** (k / rounds),
            exclude=["0"], masks=masks,
        )  # fmt: skip
        apply(net, masks)
        tune(net, epochs=2, lr=0.02)
        found.append(accuracy(net, test))
        print(f"density {density(masks):.3f}: accuracy {found[-1]:.3f}")
    return net, found


if __name__ == "__main__":
    main()
