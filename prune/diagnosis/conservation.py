"""Residuals of conservation: of channels (Theorem 1) and of cuts made of layers (Theorem 2)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import isnan
from typing import NamedTuple

import torch

from prune.diagnosis.order import Layout, by_channel
from prune.diagnosis.trace import INPUT, Operation
from prune.scoring import Tensors

Cut = frozenset[str]  # names of prunable weights


class Residual(NamedTuple):
    """The largest relative difference between two flows that conservation makes equal."""

    value: float
    where: str
    compared: int  # number of pairs


def layer_cuts(weighted: list[Operation], at_output: frozenset[str]) -> list[Cut]:
    """Return the sets of layers that lead from an earlier part of the network to the rest (Eq. 7).

    Let S be all neurons after some point of the pass. S is closed downstream, so each path crosses
    the cut C(S) exactly once (Theorem 2). A set S is left out if a stream enters it that was joined
    by another one from within S, for example in an addition: that crossing has no weights of its
    own.

    Args:
        weighted: The operations that use prunable weights, in the order of the pass.
        at_output: The layers that the output reads.

    Returns:
        Sets of layer names. Each path crosses each set exactly once.
    """
    used = Counter(name for o in weighted for name in o.layers)
    before = {INPUT}
    cuts: dict[Cut, None] = {}
    for i, operation in enumerate(weighted):
        crossing = [o for o in weighted[i:] if o.reads & before]
        names = frozenset(name for o in crossing for name in o.layers)
        pure = all(o.reads <= before for o in crossing) and not before & at_output
        if pure and all(used[name] == 1 for name in names):
            cuts[names] = None
        before |= set(operation.layers)
    return list(cuts)


def cut_residual(R: float, at_input: float, scores: Tensors, cuts: Iterable[Cut]) -> Residual:
    """Compare <dR/dx, x> and the total score of each cut with R = <dR/dy, y> (Theorem 2).

    Args:
        R: The synaptic flow (Eq. 5).
        at_input: <dR/dx, x>.
        scores: name -> scores, shaped like the weight.
        cuts: Sets of layers, as `layer_cuts` returns them.
    """
    totals = {INPUT: at_input}
    for cut in cuts:
        where = " + ".join(sorted(name.removesuffix(".weight") for name in cut))
        totals[where] = sum(scores[name].sum().item() for name in cut)
    return _worst({where: _difference(total, R) for where, total in totals.items()})


def neuron_residual(scores: Tensors, weighted: list[Operation], at_output: Cut) -> Residual:
    """Compare S_in with S_out of each channel that only weights lead out of (Theorem 1).

    A channel that leads to a shortcut or to the output, or that is mixed with others or reordered
    before the next weights, is left out.

    Args:
        scores: name -> scores, shaped like the weight.
        weighted: The operations that use prunable weights, in the order of the pass.
        at_output: The layers that the output reads.
    """
    differences = {}
    for (layer, layout), after in _followed_by_weights(weighted, at_output):
        S_in, _ = by_channel(scores[layer], layout)
        outs = [by_channel(scores[name], own)[1] for name, own in after]
        # After flattening, a channel has several inputs of the next layer.
        S_out = torch.stack([S.view(len(S_in), -1).sum(1) for S in outs]).sum(0)
        for c, (a, b) in enumerate(zip(S_in.tolist(), S_out.tolist(), strict=True)):
            differences[f"{layer.removesuffix('.weight')}, channel {c}"] = _difference(a, b)
    return _worst(differences)


def _followed_by_weights(
    weighted: list[Operation], at_output: Cut
) -> Iterator[tuple[tuple[str, Layout], list[tuple[str, Layout]]]]:
    """Yield each layer whose channels only layers read, in their order, and these layers.

    All of them are used once.
    """
    used = Counter(name for o in weighted for name in o.layers)
    layouts = {o.layers[0]: o.layout for o in weighted if o.layout is not None}
    for layer in layouts:
        readers = [o for o in weighted if layer in o.reads]
        after = [name for o in readers for name in o.layers]
        alone = all(o.reads == {layer} and o.in_order for o in readers)
        once = all(used[name] == 1 for name in (layer, *after))
        if after and alone and once and layer not in at_output:
            yield (layer, layouts[layer]), [(name, layouts[name]) for name in after]


def _difference(a: float, b: float) -> float:
    """Return |a - b| over the larger of both, 0 if both are 0."""
    return abs(a - b) / max(abs(a), abs(b)) if a or b else 0.0


def _worst(differences: Mapping[str, float]) -> Residual:
    """Return the largest difference; NaN counts as larger than any number."""
    if not differences:
        return Residual(0.0, "", 0)
    where = max(differences, key=lambda name: (isnan(differences[name]), differences[name]))
    return Residual(differences[where], where, len(differences))
