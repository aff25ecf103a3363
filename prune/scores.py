"""Scores: how much each prunable weight matters. Weights with higher scores are kept.

Each score is a function of (model, masks, probe). It returns name -> tensor, keyed and shaped like
the masks, in `probe.dtype`, with 0 where a weight is pruned already. It does not change the model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from prune.composed import Composed
from prune.losses import loss_of
from prune.masks import Masks, masked
from prune.overflow import in_range, refuse_range
from prune.positive import positive_pass, reading
from prune.probe import Probe, batch_of, device_of, ones
from prune.scoring import Tensors, gradients, leaves, output, undisturbed, values

NOISE = 1e-12  # the part of the loss below which a sum of scores is rounding noise
Score = Callable[[nn.Module, Masks, Probe], Tensors]


def random(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return independent standard normal scores (App. 12.1), drawn anew at each call.

    They are drawn on the CPU from `probe.generator`, so that one seed gives one mask on every
    device.
    """
    drawn = {
        name: torch.randn(mask.shape, generator=probe.generator, dtype=probe.dtype)
        for name, mask in masks.items()
    }
    return masked({name: S.to(device_of(model)) for name, S in drawn.items()}, masks)


def magnitude(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return |theta| (App. 12.1). No data is read."""
    theta = values(model, masks, probe.dtype)
    return {name: theta[name].abs() for name in masks}


def skeletonization(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return -dL/dtheta * theta (Sec. 4), a synaptic saliency (Eq. 1) with R = -L; L as in `snip`.

    To first order, it is the increase of the loss when the weight is removed.

    Raises:
        ValueError: If `probe.batches` is empty.
    """
    return {name: -S for name, S in _loss_saliency(model, masks, probe).items()}


def snip(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return |dL/dtheta * theta| (App. 12.1).

    L is the cross-entropy: the mean over the examples of a batch, summed over the batches.

    Raises:
        ValueError: If `probe.batches` is empty.
    """
    return {name: S.abs() for name, S in _loss_saliency(model, masks, probe).items()}


def taylor_fo(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return (dL/dtheta * theta)^2 (Sec. 4), which orders weights as `snip` does.

    Raises:
        ValueError: If `probe.batches` is empty.
    """
    return {name: S.square() for name, S in _loss_saliency(model, masks, probe).items()}


def grasp(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return theta * sum over batches of H_b g_b (App. 12.1).

    The paper's GraSP is -theta * Hg with the lowest scores kept; here the highest are kept. g_b and
    H_b are the gradient and the Hessian of the mean cross-entropy of batch b in the prunable
    weights; H_b g_b is the gradient of <g_b, stop(g_b)>. There is no temperature. The published
    data kept the other end of this order.

    Raises:
        ValueError: If `probe.batches` is empty, or an operation has no second derivative.
    """

    def hessian_gradient(L: Tensor, theta: Tensors) -> Tensors:
        g = gradients(L, theta, masks, create_graph=True)
        square = torch.stack([(g[name] * g[name].detach()).sum() for name in masks]).sum()
        return gradients(square, theta, masks)

    return _sum_over_batches(model, masks, probe, hessian_gradient)


class Flow(NamedTuple):
    """R (Eq. 5) and the Synaptic Flow scores (Eq. 6), keyed and shaped like the masks."""

    R: float
    scores: Tensors


def synflow(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return dR/dtheta * theta (Eq. 1) for R = 1^T |theta[L]| ... |theta[1]| 1 (Eq. 5, Eq. 6).

    No data is read; `synaptic_flow` states the properties of the scores.

    Raises:
        FloatingPointError: If R leaves the range of `probe.dtype` (App. 11); names a layer.
    """
    return synaptic_flow(model, masks, probe).scores


def synaptic_flow(model: nn.Module, masks: Masks, probe: Probe) -> Flow:
    """Score each weight by the synaptic flow that passes through it.

    R = 1^T |theta[L]| ... |theta[1]| 1 (Eq. 5) and S = dR/dtheta * theta (Eq. 1, Eq. 6): the
    network is run on ones with |theta| for theta, 0 for biases, and normalisations as their
    positive scale. Other operations are read as `skeleton` states. No data is read. This is the
    definition; `prune` computes the same numbers faster (prune/fast).

    Args:
        model: A feed-forward network. Not changed.
        masks: The weights pruned so far are the False entries; they score 0.
        probe: `input_shape` or `example`, and `dtype` are read.

    Returns:
        R and non-negative scores, keyed and shaped like `masks`. Over any set of weights that
        each path crosses exactly once they sum to R (Theorem 2).

    Raises:
        FloatingPointError: If R leaves the range of `probe.dtype` (App. 11); names a layer.
    """
    with undisturbed(model):
        theta = leaves(masked(reading(model, probe.dtype), masks), masks)
        R = positive_pass(model, theta, ones(model, probe)).R
        dR_dtheta = gradients(R, theta, masks)
        if not in_range(R.item(), probe):
            refuse_range(R.item(), model, masks, probe)
        scores = {name: dR_dtheta[name] * theta[name].detach() for name in masks}
    return Flow(R.item(), scores)


def _loss_saliency(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return dL/dtheta * theta, Eq. 1 with R the training loss."""

    def gradient(L: Tensor, theta: Tensors) -> Tensors:
        return gradients(L, theta, masks)

    return _sum_over_batches(model, masks, probe, gradient)


def _sum_over_batches(
    model: nn.Module, masks: Masks, probe: Probe, direction: Callable[[Tensor, Tensors], Tensors]
) -> Tensors:
    """Return theta * sum over batches of direction(L_b, theta), one graph at a time."""
    seen, size, losses = False, 0.0, 0.0
    with undisturbed(model):
        theta = leaves(values(model, masks, probe.dtype), masks)
        total = {name: torch.zeros_like(theta[name]) for name in masks}
        for inputs, targets in probe.batches:
            seen = True
            L = _loss(model, theta, inputs, targets, probe)
            losses += abs(L.item())
            for name, part in direction(L, theta).items():
                total[name] += part
                size += (part * theta[name].detach()).abs().sum().item()
    if not seen:  # also if the step before has used up an iterator
        raise ValueError("this score reads data, and probe.batches is empty")
    if 0 < size < NOISE * losses:
        raise ValueError(
            "the scores are rounding noise: the loss hardly depends on the weights; does the model "
            "end in a softmax? score the logits, or give Probe(loss=...)"
        )
    return {name: total[name] * theta[name].detach() for name in masks}


def _loss(model: nn.Module, theta: Tensors, inputs: Any, targets: Any, probe: Probe) -> Tensor:
    """Return the loss of one batch, a tensor ()."""
    # Copies, because tensors made in inference mode cannot be differentiated.
    call = batch_of(model, inputs, probe.dtype)
    result = output(model, theta, call, probe.dtype, modes=[Composed()])
    (moved,), _ = batch_of(model, (targets,), probe.dtype)
    return loss_of(result, moved, probe)


SCORES: dict[str, Score] = {
    "random": random,
    "magnitude": magnitude,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "skeletonization": skeletonization,
    "taylor-fo": taylor_fo,
}
READS_DATA = {"snip", "grasp", "skeletonization", "taylor-fo"}
