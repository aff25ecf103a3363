"""Algorithm 1, literally: float64, sort, no cleverness; what prune() is compared with."""

import copy
from fractions import Fraction
from math import ceil

import torch
from torch import nn

from prune import prunable


class Scale(nn.Module):
    """A positive factor for each channel, as synaptic flow reads batch norm."""

    def __init__(self, norm):
        super().__init__()
        self.factor = norm.weight.detach().abs() / (norm.running_var + norm.eps).sqrt()

    def forward(self, x):
        return x * self.factor[:, None, None]


def positive(model):
    """A copy of the model with |theta| for theta, no biases, and `Scale` for batch norm.

    Units write to new tensors: autograd does not survive two in a row that work in place.
    """
    twin = copy.deepcopy(model).double().eval()
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if hasattr(module, "read"):  # torch_strategies.Apply
            module.function = module.read
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, Scale(child))
    for name, p in twin.named_parameters():
        p.data = torch.zeros_like(p) if name.endswith(("bias", "shift")) else p.detach().abs()
    return twin


def algorithm_1(model, shape, keeps):
    """Iterative Synaptic Flow Pruning, line by line; yields the mask of each step, as a list."""
    theta_0 = prunable(positive(model))
    mu = [1] * sum(w.numel() for w in theta_0.values())  # 1
    for keep in keeps:
        network = positive(model)
        bits = torch.tensor(mu).split([w.numel() for w in theta_0.values()])
        for part, w in zip(bits, prunable(network).values()):
            w.data *= part.view(w.shape)  # 2
        R = network(torch.ones(1, *shape, dtype=torch.float64)).sum()  # 3
        R.backward()
        S = [
            (0 * w if w.grad is None else w.grad * w).flatten() for w in prunable(network).values()
        ]
        S = torch.cat(S).tolist()  # 4
        order = sorted(range(len(S)), key=lambda i: (mu[i] == 0, -S[i], i))  # 5
        mu = [0] * len(S)
        for i in order[:keep]:
            mu[i] = 1  # 6
        yield mu


def counts(N, rho, n, schedule):
    """Return the counts of all steps without a root: ceil(N rho^(-k/n)), or linear."""
    if schedule == "linear":
        return [ceil(N * (1 - (1 - 1 / Fraction(rho)) * Fraction(k, n))) for k in range(1, n + 1)]
    return [
        next(m for m in range(N + 1) if m**n * Fraction(rho) ** k >= N**n) for k in range(1, n + 1)
    ]


def row(masks):
    return torch.cat([m.flatten() for m in masks.values()]).int().tolist()
