"""Measure conservation, positivity and homogeneity of the function that SynFlow scores."""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import torch
from torch import Tensor, nn

from prune.diagnosis.conservation import Residual, cut_residual, layer_cuts, neuron_residual
from prune.diagnosis.homogeneity import HOMOGENEOUS, gap
from prune.diagnosis.itself import Itself, Normalisation, Reading
from prune.diagnosis.trace import Operation, Tracer, running
from prune.masks import Masks, dense_masks
from prune.overflow import fitted
from prune.positive import Pass, is_shift, positive_pass, reading, zeros
from prune.probe import Probe, ones
from prune.scoring import Tensors, differentiated, leaves, undisturbed, values
from prune.steps import unscaled
from prune.watch import check_values


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
    inhomogeneous: tuple[Operation, ...]  # not homogeneous, even as scored
    otherwise: tuple[Reading, ...]  # not homogeneous for themselves, but as scored
    simplified: tuple[Reading, ...]  # homogeneous, too, but read as others
    normalisations: tuple[Normalisation, ...]  # read as their scale
    shifts: tuple[str, ...]  # biases and running means that are not 0: read as 0
    zeros: tuple[str, ...]  # other parameters that are 0 throughout: read as 1
    scale: int = 0  # R and scores are 4^-scale times those of Eq. 5 and 6 (`Probe`)

    @property
    def unscaled_R(self) -> Decimal:
        """R of Eq. 5 without `scale`, also where it is too large or too small for a float."""
        return unscaled(self.R, self.scale)


class TracedFlow(NamedTuple):
    """One SynFlow pass, and the operations on its way."""

    R: float
    at_input: float  # <dR/dx, x>
    scores: Tensors
    operations: list[Operation]
    itself: Itself
    at_output: frozenset[str]  # the layers that the output reads


def diagnose(model: nn.Module, probe: Probe) -> Diagnosis:
    """Measure conservation, positivity and homogeneity, of what SynFlow scores and of the model.

    SynFlow scores the positive linear skeleton of the model (`skeleton`), run on ones in eval mode
    (Eq. 5, Eq. 6). Operations of the model that are not homogeneous for themselves are named, with
    their reading. No data is read, and the model is not changed.

    Args:
        model: Any network; all its prunable weights count as kept.
        probe: `input_shape` or `example`, and `dtype` are read.

    Returns:
        The measurements, of flows rescaled as in `prune` where R leaves the range of the dtype
        (App. 11). Scores that are still not finite are counted, not refused.

    Raises:
        ValueError: If the model has nothing to prune, a weight is not finite, the model raises an
            error, or no output depends on the input.
    """
    masks = dense_masks(model)
    check_values(model, {name: model.get_parameter(name) for name in masks})
    probe = fitted(model, masks, probe)
    with undisturbed(model):
        flow = _traced_flow(model, masks, probe)
    weighted = [o for o in flow.operations if o.layers]
    cuts = layer_cuts(weighted, flow.at_output)
    return Diagnosis(
        R=flow.R,
        dtype=probe.dtype,
        neuron_wise=neuron_residual(flow.scores, weighted, flow.at_output),
        cut_wise=cut_residual(flow.R, flow.at_input, flow.scores, cuts),
        layers=tuple(_layer(model, name, flow, frozenset({name}) in cuts) for name in masks),
        inhomogeneous=tuple(o for o in flow.operations if o.defect > HOMOGENEOUS),
        otherwise=tuple(flow.itself.otherwise),
        simplified=tuple(flow.itself.simplified),
        normalisations=tuple(flow.itself.normalisations),
        shifts=_shifts(model),
        zeros=tuple(zeros(model)),
        scale=probe.scale,
    )


def _traced_flow(model: nn.Module, masks: Masks, probe: Probe) -> TracedFlow:
    """Return scores as `synaptic_flow` does, and the traced operations; refuse no value."""
    theta = leaves(reading(model, probe.dtype, probe.power), masks)
    with running(model) as stack:
        tracer = Tracer({name: theta[name] for name in masks}, stack)
        itself = Itself(tracer)
        run = positive_pass(
            model, theta, ones(model, probe), tracer, itself, tracer.hold, probe.scale
        )
    at_output = frozenset[str]().union(*(tracer.origin(y) or () for y in run.outputs))
    if tracer.unseen:
        tracer.add("scripted or custom code", (), frozenset(), _unseen_defect(model, theta, probe))
    R = run.R.item()
    at_input, scores = _flows(run, theta, masks)
    return TracedFlow(R, at_input, scores, tracer.operations, itself, at_output)


def _flows(run: Pass, theta: Tensors, masks: Masks) -> tuple[float, Tensors]:
    """Return <dR/dx, x> and the scores."""
    by = [*run.entries, *(theta[name] for name in masks)]
    products = [f * t.detach() for f, t in zip(differentiated(run.R, by), by, strict=True)]
    count = len(run.entries)
    at_input = sum(flow.sum().item() for flow in products[:count])
    return at_input, dict(zip(masks, products[count:], strict=True))


@torch.no_grad()
def _unseen_defect(model: nn.Module, theta: Tensors, probe: Probe) -> float:
    """Return the largest defect of R(c x) = c R(x), for code that no mode sees into."""

    def R(c: float) -> list[Tensor]:
        with torch.enable_grad():
            call = ones(model, probe)
            return [positive_pass(model, theta, call, hold=lambda x: x * c, scale=probe.scale).R]

    return max(gap(R(1.0), c, R(c)) for c in (2.0**-10, 2.0**-20, 2.0**-40))


def _shifts(model: nn.Module) -> tuple[str, ...]:
    """Return the names of biases and running means that are not 0."""
    given = values(model, {}, torch.float64)
    return tuple(name for name, t in given.items() if is_shift(name) and t.any())


def _layer(model: nn.Module, name: str, flow: TracedFlow, is_cut: bool) -> Layer:
    S = flow.scores[name]
    share = S.sum().item() / flow.R if flow.R else 0.0
    zero, negative, not_finite = (int(x.sum()) for x in (S == 0, S < 0, ~S.isfinite()))
    used = any(name in o.layers for o in flow.operations)
    cause = _cause(S, model.get_parameter(name), used) if zero else ""
    return Layer(name, S.numel(), share, zero, negative, not_finite, is_cut, cause)


def _cause(S: Tensor, weight: Tensor, used: bool) -> str:
    """Return why scores are 0, as far as the weight itself shows."""
    zero = S == 0
    if not used:
        return "the output does not use it"
    if (zero <= (weight == 0)).all():
        return "weights that are 0"
    if zero.all():
        return "no flow gets through it"
    dead_taps = int(zero.flatten(2).all(0).all(0).sum()) if S.dim() > 2 else 0
    if dead_taps:
        return f"{dead_taps} of {S[0, 0].numel()} kernel taps read only padding"
    return "no flow gets through some channels"
