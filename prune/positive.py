"""The network that SynFlow scores: |theta| for theta, no shifts, normalisations as their scale.

With weights that are not negative and an input of ones, its output is the sum over all paths of
the product of |theta| along the path (Eq. 5).
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune.masks import Masks
from prune.scoring import Probe, Tensors, device_of, output, undisturbed, values


def magnitudes(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return |theta| by name, with 0 for biases and running means."""
    return {n: torch.zeros_like(t) if is_shift(n) else t.abs() for n, t in tensors.items()}


def is_shift(name: str) -> bool:
    """Return True for the names of biases and running means, which add to a stream."""
    leaf = name.rpartition(".")[2]
    return leaf.endswith("bias") or leaf == "running_mean"


def ones(model: nn.Module, probe: Probe) -> Tensor:
    """Return the input of Eq. 5: one example of ones, (1, *input_shape), in `probe.dtype`."""
    return torch.ones(1, *probe.input_shape, dtype=probe.dtype, device=device_of(model))


def positive_outputs(
    model: nn.Module,
    theta: Tensors,
    x: Tensor,
    inside: AbstractContextManager[object] | None = None,
) -> list[Tensor]:
    """Run the network with `theta`, its normalisations read as their scale.

    Args:
        model: In eval mode, as `undisturbed` sets it.
        theta: All of its floating tensors by name, as `magnitudes` returns them.
        x: The input, for example `ones`.
        inside: A mode that gets each function before normalisations are replaced.

    Returns:
        All floating-point outputs, each (1, ...).
    """
    with Positive(), inside or nullcontext():
        return output(model, theta, x)


def total(outputs: list[Tensor]) -> Tensor:
    """Return R = 1^T y (Eq. 5), the sum of all outputs, as a tensor ()."""
    return torch.stack([y.sum() for y in outputs]).sum()


def flow_at_ends(model: nn.Module, masks: Masks, probe: Probe) -> tuple[float, float]:
    """Return <dR/dx, x> and <dR/dy, y> = R, which are equal in homogeneous networks (Theorem 2)."""
    with undisturbed(model):
        x = ones(model, probe).requires_grad_()
        theta = magnitudes(values(model, masks, probe.dtype))
        R = total(positive_outputs(model, theta, x))
        (dR_dx,) = torch.autograd.grad(R, x)
        return (dR_dx * x).sum().item(), R.item()


class Positive(TorchFunctionMode):
    """Replace each normalisation by its positive per-channel scale: no mean, no shift.

    Batch norm keeps |gamma| / sqrt(var + eps), and |gamma| where it stores no variance. Layer norm
    and group norm store none and keep |gamma|.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the replacement of `func`, or `func`."""
        return NORMALISATIONS.get(func, func)(*args, **(kwargs or {}))


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


NORMALISATIONS: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.rms_norm: _layer_norm,
    F.local_response_norm: _local_response_norm,
}
# Functions that multiply by a weight.
WEIGHTED: set[Callable[..., Tensor]] = {
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
}
