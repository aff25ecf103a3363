"""Put a diagnosis into one sentence: do the theorems hold, for what, and why."""

from collections.abc import Iterator, Sequence
from math import isfinite

import torch

from prune.diagnosis.itself import Reading
from prune.diagnosis.measure import Diagnosis
from prune.diagnosis.trace import Operation

PLAIN = {
    "multi_head_attention_forward": "softmax attention",
    "scaled_dot_product_attention": "softmax attention",
    "hardtanh": "hardtanh or ReLU6",
    "mul": "product of two streams",
}
GUARANTEES = "The guarantees (Theorems 1 to 4)"
MENTIONED = 0.001  # least share of zero scores; large layers draw single zeros by chance
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3}  # of sums over millions of scores


def verdict(diagnosis: Diagnosis) -> tuple[bool, str]:
    """Return True if Theorem 1 to Theorem 4 hold for the network as scored, and one sentence.

    The theorems need homogeneous units (Theorem 1, Theorem 2) and positive scores (Theorem 3,
    Theorem 4). Zero scores do no harm: those weights lie on no path and go first. The sentence says
    so if the theorems do not hold for the network itself, since its operations are not homogeneous
    but are read as others that are.
    """
    if against := list(_against(diagnosis)):
        if diagnosis.otherwise:
            against.append(f"for itself, it also has {_read(diagnosis.otherwise)}")
        return False, f"{GUARANTEES} do not hold: {'; '.join(against)}."
    scored = ""
    if diagnosis.otherwise:
        scored = (
            " for the network as scored, but not for the network itself, where these are not "
            f"homogeneous: {_read(diagnosis.otherwise)}"
        )
    return True, f"{GUARANTEES} hold{scored}{'; as scored,' if scored else ':'} " + (
        f"{'; '.join(_terms(diagnosis))}."
    )


def _against(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield each hypothesis of the theorems that the network as scored does not satisfy."""
    residual = max(diagnosis.neuron_wise.value, diagnosis.cut_wise.value)
    tolerance = ROUNDING[diagnosis.dtype]
    if diagnosis.inhomogeneous:
        hidden = residual < tolerance
        yield f"{_listed(diagnosis.inhomogeneous)} not homogeneous, as Theorem 1 needs" + (
            " (seen only when flow is as small as pruning makes it)" if hidden else ""
        )
    yield from _bad_scores(diagnosis)
    carried = isfinite(diagnosis.R) and diagnosis.R != 0
    if carried and not diagnosis.inhomogeneous and residual > tolerance:
        yield f"scores are not conserved, by up to {residual:.2g} of the flow"


def _bad_scores(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield remarks on scores that are not finite, all 0 or negative."""
    dtype = str(diagnosis.dtype).removeprefix("torch.")
    overflown = [layer.name for layer in diagnosis.layers if layer.not_finite]
    if overflown or not isfinite(diagnosis.R):
        where = f", first in {overflown[0]}" if overflown else ""
        cure = "rescale the layers (App. 11)" if dtype == "float64" else "score in float64"
        yield f"scores leave the range of {dtype} (R = {diagnosis.R:g}{where}), so {cure}"
    if diagnosis.R == 0:
        yield "no path leads from input to output (R = 0)"
    if below := [layer for layer in diagnosis.layers if layer.negative]:
        count = sum(layer.negative for layer in below)
        yield (
            f"{count:,} scores are negative, first in {below[0].name}, and Theorem 3 needs "
            "positive ones"
        )


def _terms(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield remarks on a network for which the theorems hold."""
    yield "every operation is homogeneous and no score is negative"
    cuts, L = sum(layer.is_cut for layer in diagnosis.layers), len(diagnosis.layers)
    if cuts == L:
        yield f"each of the {L} layers is a cut that carries all of R"
    else:
        yield (
            f"only {cuts} of {L} layers are a cut by themselves, so an empty layer beside a "
            "shortcut is no layer-collapse"
        )
    size = sum(layer.size for layer in diagnosis.layers)
    zero = sum(layer.zero for layer in diagnosis.layers)
    if zero / size >= MENTIONED:
        causes = dict.fromkeys(layer.cause for layer in diagnosis.layers if layer.zero)
        yield f"{zero / size:.1%} of the weights score 0 and go first ({', '.join(causes)})"
    if diagnosis.shifts:
        yield f"{_first(diagnosis.shifts)} is not 0 but read as 0"
    if diagnosis.zeros:
        yield f"{_first(diagnosis.zeros)} is 0 throughout but read as 1"
    if diagnosis.simplified:
        yield f"{_read(diagnosis.simplified)} for positive scores"


def _listed(operations: Sequence[Operation]) -> str:
    """Return "gelu (12 times, first in encoder.mlp.1) and softmax (once, in head.2) are"."""
    return _counted(operations) + (" is" if len(_groups(operations)) == 1 else " are")


def _read(found: Sequence[Reading]) -> str:
    """Return "gelu (12 times, first in encoder.mlp.1) read as ReLU, norm (once, in 0) as ..."."""
    readings = dict.fromkeys(one.reading for one in found)
    texts = []
    for reading in readings:
        same = [one for one in found if one.reading == reading]
        texts.append(f"{_counted(same)} read as {reading}")
    return ", ".join(texts)


def _counted(found: Sequence[Operation] | Sequence[Reading]) -> str:
    groups = _groups(found)
    return " and ".join(f"{name} ({_times(modules)})" for name, modules in groups.items())


def _groups(found: Sequence[Operation] | Sequence[Reading]) -> dict[str, list[str]]:
    """Return name -> the modules in which operations of this name were found."""
    groups: dict[str, list[str]] = {}
    for one in found:
        name = PLAIN.get(one.name, one.name)
        groups.setdefault(name, []).append(one.module or "the model itself")
    return groups


def _times(modules: Sequence[str]) -> str:
    many = f"{len(modules)} times, first in" if len(modules) > 1 else "once, in"
    return f"{many} {modules[0]}"


def _first(names: Sequence[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
