"""A literal Algorithm 1, written from the paper and independent of `prune`, to compare with it."""

from math import ceil

import torch
from torch import Tensor, nn
from torch.func import functional_call


def literal_synflow(
    model: nn.Module, shape: tuple[int, ...], compression: float, steps: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Prune by SynFlow, line by line: mask, forward, backward, score, threshold, mask.

    Args:
        model: Its biases and running means must be 0, as at initialisation.
        shape: The shape of one input.
        compression: rho, at least 1.
        steps: n, the number of iterations.
        dtype: The precision of weights, scores and threshold.

    Returns:
        name -> bool tensor, True for kept weights. Ties with the threshold are pruned.
    """
    model = model.to(dtype).eval()
    theta = {n: p.detach().abs().requires_grad_() for n, p in model.named_parameters()}
    layers = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    names = [f"{layer}.weight" for layer in layers]
    masks = {name: torch.ones_like(theta[name]) for name in names}
    ones = torch.ones(1, *shape, dtype=dtype, device=next(model.parameters()).device)
    N = sum(mask.numel() for mask in masks.values())
    for step in range(1, steps + 1):
        masked = theta | {name: theta[name] * masks[name] for name in names}
        R = functional_call(model, masked, ones).sum()
        gradients = torch.autograd.grad(R, [masked[name] for name in names])
        scores = {n: (g * masked[n].detach()).abs() for n, g in zip(names, gradients, strict=True)}
        flat = torch.cat([S.flatten() for S in scores.values()])
        pruned = N - ceil(N * compression ** (-step / steps))
        threshold = flat.kthvalue(pruned).values if pruned else -1.0
        masks = {name: (S > threshold).to(dtype) for name, S in scores.items()}
    return {name: mask.bool() for name, mask in masks.items()}
