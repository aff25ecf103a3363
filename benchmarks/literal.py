"""Algorithm 1 as one writes it from the paper: what the fast one is compared with."""

from math import ceil

import torch
from torch import Tensor, nn
from torch.func import functional_call


def literal_synflow(
    model: nn.Module, shape: tuple[int, ...], compression: float, steps: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """SynFlow, line by line: mask, forward, backward, score, threshold, mask.

    Args:
        model: Biases and running means must be 0, as at initialisation.
        shape: Of one input.
        dtype: Of weights, scores and threshold.

    Returns:
        name -> bool tensor, the kept weights. Ties with the threshold are pruned.
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
        scores = {n: (g * masked[n].detach()).abs() for n, g in zip(names, gradients)}
        flat = torch.cat([S.flatten() for S in scores.values()])
        pruned = N - ceil(N * compression ** (-step / steps))
        threshold = flat.kthvalue(pruned).values if pruned else -1.0
        masks = {name: (S > threshold).to(dtype) for name, S in scores.items()}
    return {name: mask.bool() for name, mask in masks.items()}
