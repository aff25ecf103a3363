"""Normalisations as SynFlow reads them: a positive scale of each channel, no mean, no shift.

Batch norm keeps |gamma| / sqrt(var + eps), and |gamma| where it stores no variance. Layer norm and
group norm store none and keep |gamma|. Each replacement takes the arguments of torch's function.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def _by_channel(x: Tensor, scale: Tensor | None) -> Tensor:
    """Multiply x (batch, C, ...) by scale (C,)."""
    return x if scale is None else x * scale.view(-1, *[1] * (x.dim() - 2))


# Replacements take the arguments of the function that they replace, and use some.


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    *_: object,
    eps: float = 1e-5,
    **__: object,
) -> Tensor:
    scaled = _by_channel(x, weight)
    return scaled if running_var is None else _by_channel(scaled, (running_var + eps).rsqrt())


def _group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, *_: object, **__: object
) -> Tensor:
    return _by_channel(x, weight)


def _layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None = None, *_: object, **__: object
) -> Tensor:
    return x if weight is None else x * weight


def _local_response_norm(x: Tensor, *_: object, **__: object) -> Tensor:
    return x


def _by_order(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None,
    var: Tensor | None, *_: object, **__: object,
) -> Tensor:  # fmt: skip
    """Take the arguments of torch.batch_norm, which have another order than those of F."""
    return _batch_norm(x, mean, var, weight)


NORMALISATIONS: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    F.batch_norm: _batch_norm,
    torch.batch_norm: _by_order,
    F.group_norm: _group_norm,
    torch.group_norm: _group_norm,
    F.instance_norm: _batch_norm,
    torch.instance_norm: _by_order,
    F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    F.rms_norm: _layer_norm,
    torch.rms_norm: _layer_norm,
    F.local_response_norm: _local_response_norm,
}
