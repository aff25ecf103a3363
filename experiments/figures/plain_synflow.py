"""SynFlow by one backward pass of autograd, without anything that makes it fast.

Figure `precision` compares masks of this definition with those of `prune.fast`.
"""

import torch
from torch import nn

from prune import Probe
from prune.fast.flow import Positive, magnitudes
from prune.masks import Masks, Scores
from prune.scoring import device_of, gradients, leaves, output, undisturbed, values


def synflow(model: nn.Module, masks: Masks, probe: Probe) -> Scores:
    """Score each weight by |theta| dR/d|theta|, with R the sum of outputs for ones (Eq. 5)."""
    with undisturbed(model), Positive():
        theta = leaves(magnitudes(values(model, masks, probe.dtype)), masks)
        ones = torch.ones(1, *probe.input_shape, dtype=probe.dtype, device=device_of(model))
        R = sum(y.sum() for y in output(model, theta, ones))
        slopes = gradients(R, theta, masks)
    return {name: slopes[name] * theta[name].detach() for name in masks}
