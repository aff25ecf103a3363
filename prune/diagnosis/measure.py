"""Measure conservation, positivity and homogeneity of the function that SynFlow scores."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from prune.diagnosis.conservation import Residual, cut_residual, layer_cuts, neuron_residual
from prune.diagnosis.trace import (
    INPUT,
    Normalisation,
    NormalisationRecorder,
    Operation,
    Tracer,
    running,
)
from prune.masks import Masks, dense_masks
from prune.positive import magnitudes, ones, positive_outputs, total
from prune.scoring import Probe, Tensors, gradients, leaves, undisturbed, values

HOMOGENEOUS = 1e-9  # the largest defect; usually 0, because powers of two scale without rounding


@dataclass(frozen=True)
class Layer:
    """The scores of one prunable weight."""

    name: str
    size: int
    share: float  # their sum over R: 1 if the layer is a cut (Theorem 2)
    zero: int
    negative: int
    not_finite: int
    is_cut: bool  # every path leads through it once
    cause: str  # of the zeros


@dataclass(frozen=True)
class Diagnosis:
    """The measurements; `verdict` puts them into a sentence."""

    R: float
    dtype: torch.dtype
    neuron_wise: Residual  # S_in against S_out of hidden channels (Theorem 1)
    cut_wise: Residual  # <dR/dx, x> and every cut made of layers, against R (Theorem 2)
    layers: tuple[Layer, ...]
    inhomogeneous: tuple[Operation, ...]  # operations that are not homogeneous
    normalisations: tuple[Normalisation, ...]  # read as their scale
    shifts: tuple[str, ...]  # biases and running means that are not 0: read as 0
    zero_scales: tuple[str, ...]  # other parameters that are 0 throughout


class TracedFlow(NamedTuple):
    """One SynFlow pass, and the operations on its way."""

    R: float
    at_input: float  # <dR/dx, x>
    scores: Tensors
    operations: list[Operation]
    normalisations: list[Normalisation]
    at_output: frozenset[str]  # the layers that the output reads


def diagnose(model: nn.Module, probe: Probe) -> Diagnosis:
    """Measure conservation, positivity and homogeneity of what SynFlow scores (Eq. 5, Eq. 6).

    SynFlow scores the model in eval mode, run on ones, with |theta| for theta, no biases, and
    normalisations as their scale. No data is read, and the model is not changed.

    Args:
        model: Any network; all its prunable weights count as kept.
        probe: `input_shape` and `dtype` are read.

    Returns:
        The measurements. Scores that are not finite are counted, not refused.
    """
    masks = dense_masks(model)
    with undisturbed(model):
        flow = _traced_flow(model, masks, probe)
    weighted = [o for o in flow.operations if o.layers]
    cuts = layer_cuts(weighted, flow.at_output)
    shifts, zero_scales = _shifts_and_zero_scales(model, masks)
    return Diagnosis(
        R=flow.R,
        dtype=probe.dtype,
        neuron_wise=neuron_residual(model, flow.scores, weighted, flow.at_output),
        cut_wise=cut_residual(flow.R, flow.at_input, flow.scores, cuts),
        layers=tuple(_layer(model, name, flow, frozenset({name}) in cuts) for name in masks),
        inhomogeneous=tuple(o for o in flow.operations if o.defect > HOMOGENEOUS),
        normalisations=tuple(flow.normalisations),
        shifts=shifts,
        zero_scales=zero_scales,
    )


def _traced_flow(model: nn.Module, masks: Masks, probe: Probe) -> TracedFlow:
    """Return scores as `synaptic_flow` does, and the traced operations; refuse no value."""
    x = ones(model, probe).requires_grad_()
    theta = leaves(magnitudes(values(model, masks, probe.dtype)), masks)
    fed = x.clone()  # a first layer may overwrite it in place
    with running(model) as stack:
        tracer = Tracer(fed, {name: theta[name] for name in masks}, stack)
        recorder = NormalisationRecorder(stack)
        with tracer:
            outputs = positive_outputs(model, theta, fed, inside=recorder)
    R = total(outputs)
    grads = gradients(R, theta | {INPUT: x}, (INPUT, *masks))
    at_input = (grads[INPUT] * x).sum().item()
    scores = {name: grads[name] * theta[name].detach() for name in masks}
    sources = [tracer.streams[y].sources for y in outputs if y in tracer.streams]
    return TracedFlow(
        R=R.item(),
        at_input=at_input,
        scores=scores,
        operations=tracer.operations,
        normalisations=recorder.normalisations,
        at_output=frozenset[str]().union(*sources),
    )


def _shifts_and_zero_scales(
    model: nn.Module, masks: Masks
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of tensors that scoring sets to 0, and of other tensors that are 0."""
    given = values(model, {}, torch.float64)
    read = magnitudes(given)
    shifts = tuple(name for name, t in given.items() if t.any() and not read[name].any())
    ones = magnitudes({name: torch.ones_like(t) for name, t in given.items()})
    scales = [name for name in given if ones[name].any() and name not in masks]
    return shifts, tuple(name for name in scales if not given[name].any())


def _layer(model: nn.Module, name: str, flow: TracedFlow, is_cut: bool) -> Layer:
    S = flow.scores[name]
    share = S.sum().item() / flow.R if flow.R else 0.0
    zero, negative, not_finite = (int(x.sum()) for x in (S == 0, S < 0, ~S.isfinite()))
    cause = _cause(S, model.get_parameter(name)) if zero else ""
    return Layer(name, S.numel(), share, zero, negative, not_finite, is_cut, cause)


def _cause(S: Tensor, weight: Tensor) -> str:
    """Return why scores are 0, as far as the weight itself shows."""
    zero = S == 0
    if (zero <= (weight == 0)).all():
        return "weights that are 0"
    if zero.all():
        return "no flow gets through it"
    dead_taps = int(zero.flatten(2).all(0).all(0).sum()) if S.dim() > 2 else 0
    if dead_taps:
        return f"{dead_taps} of {S[0, 0].numel()} kernel taps read only padding"
    return "no flow gets through some channels"
