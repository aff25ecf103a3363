"""The outputs of a model: those that SynFlow sums, and the logits that cross-entropy reads."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prune.probe import Probe, is_floating


def leaves_of(result: Any) -> list[Tensor]:
    """Return the floating tensors in the result of a model, from containers and dataclasses."""
    if is_floating(result):
        return [result]
    if isinstance(result, Mapping):
        return [t for value in result.values() for t in leaves_of(value)]
    if isinstance(result, list | tuple | set):
        return [t for value in result for t in leaves_of(value)]
    if is_dataclass(result) and not isinstance(result, type):
        return [t for field in fields(result) for t in leaves_of(getattr(result, field.name))]
    return []


def outputs_of(result: Any) -> list[Tensor]:
    """Return the outputs of a model: what it names `logits`, or else all floating tensors."""
    logits = _named_logits(result)
    return leaves_of(result) if logits is None else [logits]


def _named_logits(result: Any) -> Tensor | None:
    named = result if isinstance(result, Mapping) else getattr(result, "__dict__", {})
    logits = named.get("logits", getattr(result, "logits", None))
    return logits if is_floating(logits) else None


def loss_of(result: Any, targets: Any, probe: Probe, temperature: float = 1.0) -> Tensor:
    """Return the loss of one batch, a tensor (): that of the probe, or cross-entropy.

    Args:
        result: What the model returned.
        targets: Of the batch.
        probe: `loss` is read.
        temperature: The divisor of the logits in cross-entropy; a loss of the probe has none.

    Raises:
        ValueError: If cross-entropy cannot be taken, or the loss is no single number.
    """
    if probe.loss is None:
        return F.cross_entropy(logits_of(result, targets) / temperature, targets)
    loss = probe.loss(result, targets)
    if not (isinstance(loss, Tensor) and loss.numel() == 1):
        raise ValueError(f"Probe(loss=...) must return one number, not {_shape(loss)}")
    return loss.reshape(())


def logits_of(result: Any, targets: Tensor) -> Tensor:
    """Return the output of a model that holds the logits for the targets.

    That is what it names `logits`, or the only output whose shape fits.

    Args:
        result: What the model returned.
        targets: Classes (n, ...), or probabilities of classes (n, classes, ...).

    Raises:
        ValueError: If no output fits, several do, or the targets are no classes.
    """
    named, found = _named_logits(result), outputs_of(result)
    fitting = [y for y in found if _fits(y, targets)]
    if len(fitting) == 1 or (named is not None and fitting):
        return fitting[0]
    shapes = ", ".join(str(tuple(y.shape)) for y in found) or "none"
    if fitting:
        raise ValueError(
            f"several outputs may be the logits (shapes {shapes}); Probe(loss=...) says which, "
            "for example loss=lambda outputs, targets: F.cross_entropy(outputs[1], targets)"
        )
    raise ValueError(
        f"cross-entropy needs classes, and targets {_shape(targets)} fit no output (shapes "
        f"{shapes}); Probe(loss=...) takes another loss, for example F.mse_loss"
    )


def _fits(y: Tensor, targets: Tensor) -> bool:
    """Return True if cross-entropy can be taken of y (n, classes, ...) and the targets."""
    if not isinstance(targets, Tensor) or y.dim() < 1:
        return False
    if targets.is_floating_point():
        if y.shape != targets.shape or y.dim() < 2 or y.shape[1] < 2:
            return False
        sums = targets.sum(1)
        return bool((targets >= 0).all() and torch.isclose(sums, torch.ones_like(sums)).all())
    if y.dim() < 2 or y.shape[:1] + y.shape[2:] != targets.shape:
        return False
    labels = targets[targets != -100]  # the class that cross-entropy ignores
    return bool(((labels >= 0) & (labels < y.shape[1])).all())


def _shape(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
