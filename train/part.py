"""Train a part of a network in its place: the part has all the gradients.

The rest has no gradient, so it moves by weight decay and momentum alone, and n steps of SGD are
one product with a matrix. Running statistics of the rest, which nothing reads, stay as they are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD

Index = tuple[Tensor, ...]


class Part(NamedTuple):
    """The whole network, and where the tensors of the part that is trained lie in it."""

    whole: nn.Module
    places: dict[str, Index]  # name -> index of the whole tensor; others have kept their size


class Pair(NamedTuple):
    """A tensor of the whole network, that of the part, and its place."""

    whole: Tensor
    small: Tensor
    index: Index


@torch.no_grad()
def gather(part: Part, net: nn.Module, whole_optimizer: SGD, optimizer: SGD) -> None:
    """Copy values, statistics and momenta from the whole network into the part."""
    for whole, small, index in _pairs(part, net):
        small.copy_(whole[index])
        if isinstance(small, nn.Parameter) and whole in whole_optimizer.state:
            momentum = whole_optimizer.state[whole]["momentum_buffer"][index]
            optimizer.state[small]["momentum_buffer"] = torch.empty_like(small).copy_(momentum)


@torch.no_grad()
def spread(part: Part, net: nn.Module, whole_optimizer: SGD, optimizer: SGD, steps: int) -> None:
    """Put the trained part back into the whole network, and move the rest by as many steps."""
    rest = {}
    for theirs, mine in zip(whole_optimizer.param_groups, optimizer.param_groups, strict=True):
        theirs["lr"] = mine["lr"]
        rest |= dict.fromkeys(theirs["params"], idle(mine, steps))
    for whole, small, index in _pairs(part, net):
        if small in optimizer.state:
            state = whole_optimizer.state[whole]
            momentum = state.setdefault("momentum_buffer", torch.zeros_like(whole))
            if index:
                _move(whole, momentum, rest[whole])
            momentum[index] = optimizer.state[small]["momentum_buffer"]
        whole[index] = small


def _pairs(part: Part, net: nn.Module) -> Iterator[Pair]:
    """Pair the parameters and buffers of the whole network with those of the part."""
    for tensors in (nn.Module.named_parameters, nn.Module.named_buffers):
        small = dict(tensors(net))
        for name, whole in tensors(part.whole):
            yield Pair(whole, small[name], part.places.get(name, ()))


def idle(group: dict, steps: int) -> np.ndarray:
    """The (2, 2) matrix by which steps of SGD without gradient move (weight, momentum).

    One update is v <- m v + d w, then w <- w - lr (d w + m v), for weight decay d and momentum m.
    """
    lr, m, d = group["lr"], group["momentum"], group["weight_decay"]
    update = np.array([[1 - lr * d * (1 + m), -lr * m * m], [d, m]])
    return np.linalg.matrix_power(update, steps * group["updates"])


def _move(weight: Tensor, momentum: Tensor, matrix: np.ndarray) -> None:
    """Multiply each (weight, momentum) by the matrix, in place."""
    (a, b), (c, d) = matrix.tolist()
    moved = a * weight + b * momentum
    momentum.mul_(d).add_(weight, alpha=c)
    weight.copy_(moved)
