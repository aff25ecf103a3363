"""Refuse a synaptic flow that leaves the range of its dtype (App. 11)."""

import torch
from torch import Tensor, nn

from prune.connected import connected
from prune.masks import Masks, masked
from prune.positive import positive_pass, reading
from prune.probe import Probe, ones
from prune.scoring import observe, undisturbed


def in_range(R: float, probe: Probe) -> bool:
    """Return False if R overflows, or is so small that single scores underflow.

    In float64, the smallest R in range is about 1e-200.
    """
    return torch.finfo(probe.dtype).tiny ** 0.65 < R < float("inf")


def refuse_range(R: float, model: nn.Module, masks: Masks, probe: Probe) -> None:
    """Refuse an R that is not `in_range`, and name the first layer whose flow leaves the range.

    R = 0 is correct for masks that leave no path open, and is not refused.

    Args:
        R: The synaptic flow, out of range.
        model: The network.
        masks: The masks with which R was computed.
        probe: `input_shape` and `dtype` are read.

    Raises:
        FloatingPointError: Unless R is 0 and no path is open.
    """
    if R == 0 and not connected(model, masks, probe):
        return
    seen: list[str] = []

    def note(name: str, out: Tensor) -> None:
        if not in_range(out.max().item(), probe):
            seen.append(name)

    with undisturbed(model), observe(model, note):
        theta = masked(reading(model, probe.dtype, probe.power), masks)
        positive_pass(model, theta, ones(model, probe))
    where = seen[0] if seen else "the output"
    raise FloatingPointError(
        f"synaptic flow leaves the range of {probe.dtype}: R = {R:g}, first seen in {where}; "
        "is a layer all 0, or do weights need rescaling (App. 11)?"
    )
