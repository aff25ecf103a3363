"""A score of your own, NTK-SAP (Wang, Li and Sun 2023, arXiv 2304.02840).

`python cli.py run --pruner examples.ntk_sap:ntk_sap` takes its 100 steps. It reads neither the
weights nor data: |d/dm E ||f(x; theta m) - f(x; (theta + delta) m)||^2| for the mask m, with new
initial weights theta, a new small normal delta and a new normal input x in each of ROUNDS rounds.
The authors give batch norm the statistics of x; here it keeps its own, as biases keep their values.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from synflow import Probe, prune

ROUNDS = 1
BATCH = 64
EPSILON = 0.01  # standard deviation of delta


def ntk_sap(model: nn.Module, masks: dict[str, Tensor], probe: Probe) -> dict[str, Tensor]:
    """Return the score of each weight; higher is better, as `prune` expects it."""
    net = deepcopy(model).to(probe.dtype).eval()
    total = {name: torch.zeros_like(mask, dtype=probe.dtype) for name, mask in masks.items()}
    for _ in range(ROUNDS):
        for name, slope in one_round(net, masks, probe).items():
            total[name] += slope
    return {name: S.abs() * masks[name] for name, S in total.items()}


def one_round(net: nn.Module, masks: dict[str, Tensor], probe: Probe) -> dict[str, Tensor]:
    """Return the derivative by the masks of the squared change of the outputs."""
    m = {name: mask.to(probe.dtype).requires_grad_() for name, mask in masks.items()}
    theta = {name: normal(w, probe) * (2 / w[0].numel()) ** 0.5 for name, w in m.items()}
    moved = {name: w + EPSILON * normal(w, probe) for name, w in theta.items()}
    x = normal(torch.empty(BATCH, *probe.input_shape, device=next(iter(m.values())).device), probe)
    before, after = (
        functional_call(net, {name: t[name] * m[name] for name in m}, x) for t in (theta, moved)
    )
    change = (before - after).square().sum()
    return dict(zip(m, torch.autograd.grad(change, list(m.values())), strict=True))


def normal(like: Tensor, probe: Probe) -> Tensor:
    """Draw standard normal numbers of this shape, on the CPU, so that a seed holds everywhere."""
    drawn = torch.randn(like.shape, generator=probe.generator, dtype=probe.dtype)
    return drawn.to(like.device)


ntk_sap.iterative = True  # 100 steps where none are given

if __name__ == "__main__":
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    masks = prune(net, ntk_sap, Probe((1, 8, 8)), compression=10)
    print({name: int(mask.sum()) for name, mask in masks.items()})
