"""Measure conservation, positivity and homogeneity of the function that SynFlow scores."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import torch
from torch import Tensor, nn

from prune.diagnosis.trace import INPUT, Normalisation, Operation, Tracer, Watch, running
from prune.masks import Masks, dense_masks
from prune.positive import magnitudes, ones, positive_outputs, total
from prune.scoring import Probe, Tensors, gradients, leaves, undisturbed, values

HOMOGENEOUS = 1e-9  # the largest defect: powers of two scale without rounding, so 0 is usual
Cut = frozenset[str]  # names of prunable weights


class Residual(NamedTuple):
    """The largest relative difference between two flows that conservation makes equal."""

    value: float
    where: str
    compared: int  # number of pairs


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
    bent: tuple[Operation, ...]  # operations that are not homogeneous
    normalisations: tuple[Normalisation, ...]  # read as their scale
    shifts: tuple[str, ...]  # biases and running means that are not 0: read as 0
    zero_scales: tuple[str, ...]  # other parameters that are 0 throughout


class Pass(NamedTuple):
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
        seen = _pass(model, masks, probe)
    passages = [o for o in seen.operations if o.layers]
    cuts = layer_cuts(passages, seen.at_output)
    shifts, zero_scales = _idle(model, masks)
    return Diagnosis(
        R=seen.R,
        dtype=probe.dtype,
        neuron_wise=neuron_residual(model, seen.scores, passages, seen.at_output),
        cut_wise=cut_residual(seen, cuts),
        layers=tuple(_layer(model, name, seen, frozenset({name}) in cuts) for name in masks),
        bent=tuple(o for o in seen.operations if o.defect > HOMOGENEOUS),
        normalisations=tuple(seen.normalisations),
        shifts=shifts,
        zero_scales=zero_scales,
    )


def _pass(model: nn.Module, masks: Masks, probe: Probe) -> Pass:
    """Return scores as `synaptic_flow` does, and the traced operations; refuse no value."""
    x = ones(model, probe).requires_grad_()
    theta = leaves(magnitudes(values(model, masks, probe.dtype)), masks)
    fed = x.clone()  # a first layer may overwrite it in place
    with running(model) as path:
        tracer = Tracer(fed, {name: theta[name] for name in masks}, path)
        watch = Watch(path)
        with tracer:
            outputs = positive_outputs(model, theta, fed, inside=watch)
    R = total(outputs)
    grads = gradients(R, theta | {INPUT: x}, (INPUT, *masks))
    at_input = (grads[INPUT] * x).sum().item()
    scores = {name: grads[name] * theta[name].detach() for name in masks}
    sources = [tracer.streams[y].sources for y in outputs if y in tracer.streams]
    at_output = frozenset[str]().union(*sources)
    return Pass(R.item(), at_input, scores, tracer.seen, watch.seen, at_output)


def _idle(model: nn.Module, masks: Masks) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of tensors that scoring sets to 0, and of other tensors that are 0."""
    given = values(model, {}, torch.float64)
    read = magnitudes(given)
    shifts = tuple(name for name, t in given.items() if t.any() and not read[name].any())
    ones = magnitudes({name: torch.ones_like(t) for name, t in given.items()})
    scales = [name for name in given if ones[name].any() and name not in masks]
    return shifts, tuple(name for name in scales if not given[name].any())


def layer_cuts(passages: list[Operation], at_output: frozenset[str]) -> list[Cut]:
    """Return the sets of layers that lead from an earlier part of the network to the rest (Eq. 7).

    Let S be all neurons after some point of the pass. S is closed downstream, so each path crosses
    the cut C(S) exactly once (Theorem 2). A set S is left out if a stream enters it that was joined
    by another one from within S, for example in an addition: that crossing has no weights of its
    own.

    Args:
        passages: The operations that use prunable weights, in the order of the pass.
        at_output: The layers that the output reads.
    """
    used = Counter(name for o in passages for name in o.layers)
    before, cuts = {INPUT}, {}
    for i, operation in enumerate(passages):
        crossing = [o for o in passages[i:] if o.reads.sources & before]
        names = frozenset(name for o in crossing for name in o.layers)
        pure = all(o.reads.sources <= before for o in crossing) and not before & at_output
        if pure and all(used[name] == 1 for name in names):
            cuts[names] = None
        before |= set(operation.layers)
    return list(cuts)


def cut_residual(seen: Pass, cuts: Iterable[Cut]) -> Residual:
    """Compare <dR/dx, x> and the total score of each cut with R = <dR/dy, y> (Theorem 2)."""
    totals = {INPUT: seen.at_input}
    for cut in cuts:
        where = " + ".join(sorted(name.removesuffix(".weight") for name in cut))
        totals[where] = sum(seen.scores[name].sum().item() for name in cut)
    return _worst({where: _difference(total, seen.R) for where, total in totals.items()})


def neuron_residual(
    model: nn.Module, scores: Tensors, passages: list[Operation], at_output: frozenset[str]
) -> Residual:
    """Compare S_in with S_out of each channel that only weights lead out of (Theorem 1).

    A channel that leads to a shortcut or to the output, or that is mixed with others before the
    next weights, has no S_out of its own and is left out.
    """
    used = Counter(name for o in passages for name in o.layers)
    differences = {}
    for layer in used:
        readers = [o for o in passages if layer in o.reads.sources]
        after = [name for o in readers for name in o.layers]
        alone = all(o.reads.sources == {layer} and o.reads.in_order for o in readers)
        if not after or not alone or layer in at_output or used[layer] > 1:
            continue
        S_in, _ = by_channel(model, layer, scores[layer])
        outs = [by_channel(model, name, scores[name])[1] for name in after]
        if all(len(S) % len(S_in) == 0 for S in outs) and all(used[name] == 1 for name in after):
            # After flattening, a channel has several inputs of the next layer.
            S_out = torch.stack([S.view(len(S_in), -1).sum(1) for S in outs]).sum(0)
            for c, (a, b) in enumerate(zip(S_in.tolist(), S_out.tolist(), strict=True)):
                differences[f"{layer.removesuffix('.weight')}, channel {c}"] = _difference(a, b)
    return _worst(differences)


def by_channel(model: nn.Module, name: str, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the total score of weights into each output channel and out of each input channel."""
    layer = model.get_submodule(name.rpartition(".")[0])
    groups = getattr(layer, "groups", 1)
    grouped = scores.reshape(groups, scores.shape[0] // groups, scores.shape[1], -1)
    first, second = grouped.sum((2, 3)).flatten(), grouped.sum((1, 3)).flatten()
    return (second, first) if getattr(layer, "transposed", False) else (first, second)


def _difference(a: float, b: float) -> float:
    """Return |a - b| over the larger of both, 0 if both are 0."""
    return abs(a - b) / max(abs(a), abs(b)) if a or b else 0.0


def _worst(differences: Mapping[str, float]) -> Residual:
    if not differences:
        return Residual(0.0, "", 0)
    where = max(differences, key=lambda name: (isnan(differences[name]), differences[name]))
    return Residual(differences[where], where, len(differences))


def _layer(model: nn.Module, name: str, seen: Pass, is_cut: bool) -> Layer:
    S = seen.scores[name]
    share = S.sum().item() / seen.R if seen.R else 0.0
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
        return f"{dead_taps} of {S[0, 0].numel()} kernel taps see nothing but padding"
    return "no flow gets through some channels"
