"""Scores: how much each prunable weight matters. Weights with higher scores are kept.

Each score is a function of (model, masks, probe). It returns name -> tensor, keyed and shaped like
the masks, in `probe.dtype`, with 0 where a weight is pruned already. It does not change the model.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from prune.masks import Masks, masked
from prune.over_batches import summed
from prune.overflow import in_range, refuse_range
from prune.positive import positive_pass, reading
from prune.probe import Probe, device_of, ones
from prune.scoring import Tensors, gradients, leaves, undisturbed, values

TEMPERATURE = 200  # of the logits, in GraSP
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
    """Return theta * sum over batches of H_b g, as GraSP's authors score (arXiv 2002.07376).

    H_b is the Hessian of the mean cross-entropy of batch b, whose logits are divided by
    TEMPERATURE; a loss of `probe.loss` is taken as it is. g is the sum of the gradients of these
    losses over all batches, in the kept weights. The highest scores are kept. Batches of one size
    give the same order however many they are; an example in a smaller batch weighs more.

    The batches are read twice: for g, then for H_b g, one graph at a time.

    Raises:
        ValueError: If `probe.batches` is empty or can be read only once, or an operation has no
            second derivative.
    """

    def gradient(L: Tensor, theta: Tensors) -> Tensors:
        return masked(gradients(L, theta, masks), masks)

    g = summed(model, masks, probe, gradient, TEMPERATURE)

    def hessian_times_g(L: Tensor, theta: Tensors) -> Tensors:
        return _derivative_along(g, gradients(L, theta, masks, create_graph=True), theta)

    Hg = summed(model, masks, probe, hessian_times_g, TEMPERATURE, noise=0)  # g is tested
    return _times_theta(model, masks, probe, Hg)


def grasp_text(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return theta * sum over batches of H_b g_b (App. 12.1 by the letter).

    The paper's GraSP is -theta * Hg with the lowest scores kept; here the highest are kept. g_b and
    H_b are the gradient and the Hessian of the mean cross-entropy of batch b in the prunable
    weights. There is no temperature. The order depends on the split into batches. The published
    data kept the other end of this order.

    Raises:
        ValueError: If `probe.batches` is empty, or an operation has no second derivative.
    """

    def hessian_gradient(L: Tensor, theta: Tensors) -> Tensors:
        g = gradients(L, theta, masks, create_graph=True)
        return _derivative_along({name: g[name].detach() for name in g}, g, theta)

    return _times_theta(model, masks, probe, summed(model, masks, probe, hessian_gradient))


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


def synflow_l2(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return the scores of `synflow` for the network whose parameters are squared.

    R is then the sum over all paths of the product of theta^2; pooling and the variances of batch
    norm count as they are. It is positive and conserved like that of `synflow`, so Theorems 1, 2
    and 4 hold for it and `certified` takes it.

    Raises:
        FloatingPointError: As in `synflow`.
    """
    return synaptic_flow(model, masks, replace(probe, power=2)).scores


def synaptic_flow(model: nn.Module, masks: Masks, probe: Probe) -> Flow:
    """Score each weight by the synaptic flow that passes through it.

    R = 1^T |theta[L]| ... |theta[1]| 1 (Eq. 5) and S = dR/dtheta * theta (Eq. 1, Eq. 6): the
    network is run on ones with |theta| for theta, 0 for biases, and normalisations as their
    positive scale. Other operations are read as `skeleton` states. No data is read. This is the
    definition; `prune` computes the same numbers faster (prune/fast).

    Args:
        model: A feed-forward network. Not changed.
        masks: The weights pruned so far are the False entries; they score 0.
        probe: `input_shape` or `example`, `dtype` and `power` are read.

    Returns:
        R and non-negative scores, keyed and shaped like `masks`. Over any set of weights that
        each path crosses exactly once they sum to R (Theorem 2).

    Raises:
        FloatingPointError: If R leaves the range of `probe.dtype` (App. 11); names a layer.
    """
    with undisturbed(model):
        theta = leaves(masked(reading(model, probe.dtype, probe.power), masks), masks)
        R = positive_pass(model, theta, ones(model, probe), scale=probe.scale).R
        dR_dtheta = gradients(R, theta, masks)
        if not in_range(R.item(), probe):
            refuse_range(R.item(), model, masks, probe)
        scores = {name: dR_dtheta[name] * theta[name].detach() for name in masks}
    return Flow(R.item(), scores)


def _loss_saliency(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
    """Return dL/dtheta * theta, Eq. 1 with R the training loss."""

    def gradient(L: Tensor, theta: Tensors) -> Tensors:
        return gradients(L, theta, masks)

    return _times_theta(model, masks, probe, summed(model, masks, probe, gradient))


def _derivative_along(direction: Tensors, g: Tensors, theta: Tensors) -> Tensors:
    """Return H times a direction, the gradient of <g, direction>; g has a graph."""
    product = torch.stack([(g[name] * direction[name]).sum() for name in g]).sum()
    return gradients(product, theta, g)


def _times_theta(model: nn.Module, masks: Masks, probe: Probe, tensors: Tensors) -> Tensors:
    """Return tensor * theta for each mask."""
    theta = values(model, masks, probe.dtype)
    return {name: tensors[name] * theta[name] for name in masks}


SCORES: dict[str, Score] = {
    "random": random,
    "magnitude": magnitude,
    "snip": snip,
    "grasp": grasp,
    "grasp-text": grasp_text,
    "synflow": synflow,
    "synflow-l2": synflow_l2,
    "skeletonization": skeletonization,
    "taylor-fo": taylor_fo,
}
READS_DATA = {"snip", "grasp", "grasp-text", "skeletonization", "taylor-fo"}


def reads_data(score: str | Score) -> bool:
    """True for a score of training examples; a function of the user has `reads_data = True`."""
    return score in READS_DATA or getattr(score, "reads_data", False)
