"""Rescale a synaptic flow that leaves the range of its dtype, or refuse it (App. 11)."""

from dataclasses import replace
from math import inf, log2

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from prune.connected import connected
from prune.masks import Masks, masked
from prune.positive import positive_pass, reading
from prune.probe import Probe, ones
from prune.scoring import observe, undisturbed


def in_range(R: float, probe: Probe) -> bool:
    """Return False if R overflows, or is so small that single scores underflow.

    In float64, the smallest R in range is about 1e-200, and so is the smallest sum of the outputs,
    R times 2^scale.
    """
    least = torch.finfo(probe.dtype).tiny ** 0.65
    return least < min(R, R * 2.0**probe.scale) and R < inf


SCALES = (0.3, 0.6, -0.3, -0.6)  # of the largest exponent


@torch.inference_mode(False)
def fitted(model: nn.Module, masks: Masks, probe: Probe) -> Probe:
    """Return the probe with a scale that brings R into range; the same probe if none does.

    The scale stays as it is where R is in range. Masks without a path have R = 0 at any scale, and
    what an embedding returns for ids is not scaled.
    """
    most = log2(torch.finfo(probe.dtype).max)
    for scale in (probe.scale, *(round(part * most) for part in SCALES)):
        scaled = replace(probe, scale=scale)
        call = ones(model, scaled)
        with undisturbed(model), saved_tensors_hooks(lambda saved: None, lambda nothing: nothing):
            theta = masked(reading(model, probe.dtype, probe.power), masks)
            run = positive_pass(model, theta, call, scale=scale)
        if in_range(run.R.item(), scaled):
            return scaled
        if len(run.entries) > len(call.floating()):
            break
    return probe


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
        largest = out.max().item()
        if not (0 < largest < inf if probe.scale else in_range(largest, probe)):
            seen.append(name)

    with undisturbed(model), observe(model, note):
        theta = masked(reading(model, probe.dtype, probe.power), masks)
        positive_pass(model, theta, ones(model, probe))
    where = seen[0] if seen else "the output"
    raise FloatingPointError(
        f"synaptic flow leaves the range of {probe.dtype}: R = {R:g}, first seen in {where}; "
        "is a layer all 0, or do weights need rescaling (App. 11)?"
    )
