"""Batch norm over the batch of all ranks, so that training does not depend on their number.

torch's SyncBatchNorm does the same on CUDA only; this one runs, and is tested, on any device.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from train.ranks import total


class _Total(torch.autograd.Function):
    """The sum over the ranks; each rank's loss depends on it, so gradients are summed too."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return total(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return total(gradient)


class GlobalBatchNorm(_BatchNorm):
    """A batch norm layer that shares all but its forward pass with the layer that it replaces."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return _normalised(self, x)
        shift, scale = self.running_mean, self.running_var
        return F.batch_norm(x, shift, scale, self.weight, self.bias, eps=self.eps)


def _normalised(layer: _BatchNorm, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, per channel of x (n, C, ...) over all ranks."""
    dims, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    y = x.float() if x.dtype == torch.bfloat16 else x
    count = total(torch.full((), y.numel() // y.shape[1], dtype=y.dtype, device=y.device))
    mean = _Total.apply(y.sum(dims)) / count
    centred = y - mean.view(shape)
    var = _Total.apply(centred.square().sum(dims)) / count
    _remember(layer, mean.detach(), var.detach() * count / (count - 1))
    y = centred * (var + layer.eps).rsqrt().view(shape)
    return (y * layer.weight.view(shape) + layer.bias.view(shape)).to(x.dtype)


@torch.no_grad()
def _remember(layer: _BatchNorm, mean: Tensor, var: Tensor) -> None:
    layer.num_batches_tracked.add_(1)
    layer.running_mean.lerp_(mean, layer.momentum)
    layer.running_var.lerp_(var, layer.momentum)


def share_batch_norm(model: nn.Module) -> None:
    """Replace every batch norm layer; parameters, buffers and names stay the same.

    Raises:
        ValueError: If a layer keeps no statistics, averages them or has no weights.
    """
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, _BatchNorm) and not isinstance(layer, GlobalBatchNorm):
                _check(name, layer)
                shared = GlobalBatchNorm.__new__(GlobalBatchNorm)
                shared.__dict__ = layer.__dict__
                parent.add_module(name, shared)


def _check(name: str, layer: _BatchNorm) -> None:
    if not (layer.affine and layer.track_running_stats and layer.momentum is not None):
        raise ValueError(
            f"batch norm {name!r} cannot be shared by several ranks: it needs weights, running "
            "statistics and a momentum; train on one device"
        )
