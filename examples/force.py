"""A method of your own, FORCE (de Jorge et al. 2021, arXiv 2006.09081).

Its scores are |theta dL/dtheta| with the gradient taken in the network that is pruned already,
for all weights: those that are pruned may come back. The masks of `prune` nest from step to step,
so each step here is a call of its own. One step is SNIP; the paper's Iterative SNIP, whose masks
nest, is `python cli.py run --pruner snip --steps 100`.
"""

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from examples.own_data import load
from synflow import Probe, density, prune


def force(model: nn.Module, probe: Probe, compression: float, steps: int = 20):
    """Return masks that keep ceil(N / compression) weights, after steps of N rho^(-k/n)."""
    left: dict[str, Tensor] = {}
    for k in range(1, steps + 1):
        score = partial(sensitivity, left=left)
        left = prune(model, score, probe, compression ** (k / steps))
    return left


def sensitivity(
    model: nn.Module, masks: dict[str, Tensor], probe: Probe, left: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return |theta dL/dtheta|, the gradient taken where only the weights of `left` are kept."""
    pruned = deepcopy(model).to(probe.dtype).eval().requires_grad_()
    pruned.zero_grad()
    for name, mask in left.items():
        pruned.get_parameter(name).data *= mask
    for x, y in probe.batches:
        cross_entropy(pruned(x.to(probe.dtype)), y).backward()
    return {
        name: (model.get_parameter(name) * pruned.get_parameter(name).grad).detach().abs()
        for name in masks
    }


def main(compression: float = 10) -> dict[str, Tensor]:
    """Prune a small network by 40 images of `own_data`."""
    images, labels, *_ = load()
    batch = torch.from_numpy(images[:40]).unsqueeze(1) / 255, torch.from_numpy(labels[:40])
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 100), nn.ReLU(), nn.Linear(100, 4))
    return force(net, Probe((1, 16, 16), batches=[batch]), compression)


if __name__ == "__main__":
    print(f"{density(main()):.2%} of the weights are left")
