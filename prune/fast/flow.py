"""Synaptic flow: the network read as a positive linear map (Sec. 6), and what follows from it."""

from collections.abc import Container, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune.fast.matrices import Matrix, full_mask, matrix_of, spread
from prune.fast.plateaus import Plateaus
from prune.fast.products import Gradient, Products
from prune.fast.selection import Scored
from prune.masks import Masks, check_masks, prunable
from prune.scoring import (
    Probe,
    Tensors,
    device_of,
    observe,
    output,
    undisturbed,
    values,
)


class Flow(NamedTuple):
    """R (Eq. 5) and the Synaptic Flow scores (Eq. 6), keyed and shaped like the masks."""

    R: float | None  # None: the scores are not synaptic flow
    scores: Tensors


def _by_channel(x: Tensor, scale: Tensor | None) -> Tensor:
    """Multiply x (batch, C, ...) by scale (C,)."""
    return x if scale is None else x * scale.view(-1, *[1] * (x.dim() - 2))


def _batch_norm(x, running_mean=None, running_var=None, weight=None, *_, eps=1e-5, **__) -> Tensor:
    scaled = _by_channel(x, weight)
    return scaled if running_var is None else _by_channel(scaled, (running_var + eps).rsqrt())


def _group_norm(x, groups, weight=None, *_, **__) -> Tensor:
    return _by_channel(x, weight)


def _layer_norm(x, shape, weight=None, *_, **__) -> Tensor:
    return x if weight is None else x * weight


def _local_response_norm(x, *_, **__) -> Tensor:
    return x


NORMALISATIONS = {
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.rms_norm: _layer_norm,
    F.local_response_norm: _local_response_norm,
}
WEIGHTED = {
    F.linear,
    *(F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
}


class Positive(TorchFunctionMode):
    """Normalisation layers become their positive per-channel scale: no mean, no shift.

    Batch norm keeps |gamma| / sqrt(var + eps), and |gamma| where it stores no variance, as layer
    and group norm do not.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return NORMALISATIONS.get(func, func)(*args, **(kwargs or {}))


class Paths(TorchFunctionMode):
    """Every stream becomes 1 where a path of kept weights reaches it, 0 elsewhere."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in NORMALISATIONS:
            return _reached(args[0])
        out = func(*args, **(kwargs or {}))
        return _reached(out) if func in WEIGHTED else out


def _reached(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


def _is_shift(name: str) -> bool:
    leaf = name.rpartition(".")[2]
    return leaf.endswith("bias") or leaf == "running_mean"


def magnitudes(tensors: Mapping[str, Tensor]) -> Tensors:
    """|theta|, with biases and running means as 0."""
    return {n: torch.zeros_like(t) if _is_shift(n) else t.abs() for n, t in tensors.items()}


def _ones(model: nn.Module, probe: Probe) -> Tensor:
    return torch.ones(1, *probe.input_shape, dtype=probe.dtype, device=device_of(model))


def _objective(model: nn.Module, theta: Tensors, x: Tensor) -> Tensor:
    with Positive():
        return _total(output(model, theta, x))


def _total(outputs: list[Tensor]) -> Tensor:
    return sum(y.sum() for y in outputs)


def _smallest(probe: Probe) -> float:
    """The least R that is trusted: below, single scores vanish unseen (float64: 1e-200)."""
    return torch.finfo(probe.dtype).tiny ** 0.65


@torch.inference_mode(False)  # what is made here must be differentiable
def synaptic_flow(model: nn.Module, masks: Masks, probe: Probe) -> Flow:
    """Score each weight by the synaptic flow that passes through it.

    R = 1^T |theta[L]| ... |theta[1]| 1 (Eq. 5) and S = dR/dtheta * theta (Eq. 1): the network is
    read with |theta| for theta, 0 for biases, normalisation layers as their positive scale,
    and fed ones. No data is looked at; the model is left as it was.

    Args:
        model: A feed-forward network; homogeneous layers, for the theorems to hold.
        masks: The weights pruned so far are the False entries; they score 0.
        probe: `input_shape` and `dtype` are read.

    Returns:
        R and non-negative scores, keyed and shaped like `masks`. Over any set of weights that
        each path crosses exactly once they sum to R (Theorem 2).

    Raises:
        FloatingPointError: If R leaves the range of `probe.dtype` (App. 11); names the layers.
    """
    weights = prunable(model)
    matrices = {name: matrix_of(weights[name], m, probe.dtype) for name, m in masks.items()}
    R, gradients = flow_gradients(model, matrices, probe)
    scores = {n: gradients[n].rows(slice(None)).mul_(m.theta) for n, m in matrices.items()}
    return Flow(R, {name: spread(matrices[name], S) for name, S in scores.items()})


def flow_gradients(
    model: nn.Module, matrices: Mapping[str, Matrix], probe: Probe
) -> tuple[float, dict[str, Gradient]]:
    """R (Eq. 5) and dR/dtheta of each matrix, from one pass; see `synaptic_flow`."""

    def run(small: bool) -> tuple[Tensor, Products, Plateaus]:
        given = {name: _given(matrix) for name, matrix in matrices.items()}
        tensors = given | _surroundings(model, matrices, probe)
        products, plateaus = Products(given, matrices), Plateaus(dtype=x.dtype, device=x.device)
        with products, Positive(), plateaus:
            R = _total(output(model, tensors, plateaus.hold(x) if small else x))
        return R, products, plateaus

    with undisturbed(model):
        x = _ones(model, probe)
        images = x.dim() == 4 and any(len(matrix.shape) == 4 for matrix in matrices.values())
        R, products, plateaus = run(small=images)
        if plateaus.bypassed(R):
            R, products, _ = run(small=False)
        if not _smallest(probe) < R.item() < float("inf"):
            masks = {name: full_mask(matrix) for name, matrix in matrices.items()}
            _refuse_range(model, masks, probe, R.item())
        return R.item(), products.gradients(R)


def _surroundings(model: nn.Module, weights: Container[str], probe: Probe) -> Tensors:
    """|theta| of all parameters and buffers other than `weights`; copies, as in `values`."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    floating = {n: t for n, t in tensors.items() if n not in weights and t.is_floating_point()}
    return magnitudes({n: t.detach().to(probe.dtype) for n, t in floating.items()})


def _given(matrix: Matrix) -> Tensor:
    """What the network is given for this weight: theta, or where it was cut down a stand-in."""
    if matrix.rows is None:
        return matrix.theta.view(matrix.shape).detach().requires_grad_()
    return matrix.theta.new_full((), torch.nan).expand(matrix.shape).requires_grad_()


def scored(matrix: Matrix, gradient: Gradient) -> Scored:
    """S = dR/dtheta * theta (Eq. 1), where it is asked for."""
    theta = matrix.theta
    return Scored(
        matrix.mask,
        matrix.kept,
        rows=lambda part: gradient.rows(part).mul_(theta[part]),
        at=lambda row, column: gradient.at(row, column) * theta[row, column],
    )


def _refuse_range(model: nn.Module, masks: Masks, probe: Probe, R: float) -> None:
    """Explain an R that is inf, NaN or vanishing; a network without any path may have R = 0."""
    if R == 0 and not connected(model, masks, probe.input_shape):
        return
    seen: list[str] = []

    def see(name: str, out: Tensor) -> None:
        if not _smallest(probe) < out.max() < float("inf"):
            seen.append(name)

    hooks = observe(model, see)
    try:
        _objective(model, magnitudes(values(model, masks, probe.dtype)), _ones(model, probe))
    finally:
        for hook in hooks:
            hook.remove()
    where = seen[0] if seen else "the output"
    raise FloatingPointError(
        f"synaptic flow leaves the range of {probe.dtype}: R = {R:g}, first seen in {where}; "
        "is a layer all 0, or do weights need rescaling (App. 11)?"
    )


def flow_at_ends(model: nn.Module, masks: Masks, probe: Probe) -> tuple[float, float]:
    """<dR/dx, x> and <dR/dy, y>: equal for homogeneous networks (Theorem 2)."""
    with undisturbed(model):
        x = _ones(model, probe).requires_grad_()
        R = _objective(model, magnitudes(values(model, masks, probe.dtype)), x)
        (dR_dx,) = torch.autograd.grad(R, x)
    return (dR_dx * x).sum().item(), R.item()


def connected(model: nn.Module, masks: Masks, input_shape: tuple[int, ...]) -> bool:
    """Whether a path of kept weights leads from an input to an output.

    A SynFlow pass with every kept weight 1, normalisation 1 and biases 0 gives R > 0; each
    layer's output is cut down to 0 or 1, so R can neither overflow nor vanish. False means
    layer-collapse (Sec. 3) in any network; an empty tensor means it only where a layer is a cut.

    Raises:
        ValueError: If a mask fits no prunable weight of the model.
    """
    check_masks(model, masks)
    with undisturbed(model), torch.no_grad():
        theta = {name: torch.ones_like(t) for name, t in values(model, {}, torch.float32).items()}
        theta = {name: t * (0 if _is_shift(name) else 1) for name, t in theta.items()}
        x = torch.ones(1, *input_shape, device=device_of(model))
        theta |= {name: mask.to(x) for name, mask in masks.items()}
        with Paths():
            return any(bool((y > 0).any()) for y in output(model, theta, x))
