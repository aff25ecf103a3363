"""Sums over the batches of a probe, of the derivatives that a score takes of their losses."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from prune.composed import Composed
from prune.losses import loss_of
from prune.masks import Masks, kept, size
from prune.probe import Probe, batch_of
from prune.scoring import Tensors, leaves, output, undisturbed, values

NOISE = 1e-12  # the part of the loss below which a sum of scores is rounding noise
BATCH_NORM = nn.modules.batchnorm._BatchNorm  # BatchNorm1d to 3d, SyncBatchNorm
Derivative = Callable[[Tensor, Tensors], Tensors]


def summed(
    model: nn.Module,
    masks: Masks,
    probe: Probe,
    derivative: Derivative,
    temperature: float = 1.0,
    noise: float = NOISE,
) -> Tensors:
    """Return the sum over batches of derivative(L_b, theta), one graph at a time.

    Args:
        model: Not changed.
        masks: The weights pruned so far are the False entries; they count as 0.
        probe: `batches`, `batch_statistics`, `dtype` and `loss` are read.
        derivative: Of the loss L_b of a batch in theta, keyed and shaped like the masks.
        temperature: As in `loss_of`.
        noise: The part of the losses that the sum of |derivative * theta| must exceed while
            nothing is pruned. What is left later may be faint, and is as exact.

    Raises:
        ValueError: If `probe.batches` is empty, the derivatives are rounding noise, or
            `batch_statistics` are wanted of a model without batch norm.
    """
    seen, magnitude, losses = False, 0.0, 0.0
    with undisturbed(model):
        if probe.batch_statistics:
            _normalise_by_batch(model)
        theta = leaves(values(model, masks, probe.dtype), masks)
        total = {name: torch.zeros_like(theta[name]) for name in masks}
        for inputs, targets in probe.batches:
            seen = True
            L = _loss(model, theta, (inputs, targets), probe, temperature)
            losses += abs(L.item())
            for name, part in derivative(L, theta).items():
                total[name] += part
                magnitude += (part * theta[name].detach()).abs().sum().item()
    if not seen:
        raise ValueError(
            "this score reads data, and probe.batches is empty, or an iterator that an earlier "
            "reading used up; give a list"
        )
    if 0 < magnitude < noise * losses and kept(masks) == size(masks):
        raise ValueError(
            "the scores are rounding noise: the loss hardly depends on the weights; does the model "
            "end in a softmax? score the logits, or give Probe(loss=...)"
        )
    return total


def _normalise_by_batch(model: nn.Module) -> None:
    """Set training mode in batch norm alone, within `undisturbed`: dropout stays off.

    Raises:
        ValueError: If there is none.
    """
    layers = [module for module in model.modules() if isinstance(module, BATCH_NORM)]
    if not layers:
        raise ValueError("Probe(batch_statistics=True) does nothing: the model has no batch norm")
    for layer in layers:
        layer.train()  # the running statistics that it writes are copies


def _loss(
    model: nn.Module, theta: Tensors, batch: tuple[Any, Any], probe: Probe, temperature: float
) -> Tensor:
    """Return the loss of one batch (inputs, targets), a tensor ()."""
    inputs, targets = batch
    # Copies, because tensors made in inference mode cannot be differentiated.
    call = batch_of(model, inputs, probe.dtype)
    result = output(model, theta, call, probe.dtype, modes=[Composed()])
    (moved,), _ = batch_of(model, (targets,), probe.dtype)
    return loss_of(result, moved, probe, temperature)
