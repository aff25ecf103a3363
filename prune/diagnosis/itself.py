"""The network for itself: its operations that are not homogeneous, and how SynFlow reads them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from prune.diagnosis.homogeneity import HOMOGENEOUS, Given, own_defect
from prune.diagnosis.trace import Tracer, name_of
from prune.skeleton import rare, rules
from prune.skeleton.mode import tensors_in
from prune.skeleton.normalisations import NORMALISATIONS
from prune.skeleton.rules import RULES

SHIFTS = {
    *(rules.addition, rules.join, rules.where, rules.assign, rules.masked_fill),
    *(rare.pad, rare.written, rare.shifted),
}
READ: dict[rules.Rule, str] = {
    rules.activation: "ReLU",
    rules.gate: "an open gate or ReLU",
    rules.power: "ReLU",
    rules.glu: "an open gate",
    rules.product: "an open gate",
    rules.quotient: "a divisor of 1",
    rules.matmul: "a mean",
    rules.einsum: "a mean",
    rules.addmm: "a mean",
    rules.recurrent: "open gates",
    rules.attention: "the mean over tokens",
    rules.normalisation: "a scale",
    rules.normalise: "the identity",
    rules.identity: "the identity",
    rare.add_combined: "an open gate",
    rare.lerp: "a sum",
    rare.extreme: "ReLU",
    rare.smooth_maximum: "a maximum",
    rare.multiplied: "a mean",
    rare.spread: "a mean",
    rare.distance: "a sum",
    rare.sample: "a change of size",
    rare.bilinear: "an open gate",
    rare.outer: "an open gate",
    rare.contraction: "a mean",
    rare.difference: "a sum",
    rare.of_two: "a sum",
    rare.angle: "an open gate",
    rare.transform: "a sum",
} | dict.fromkeys(SHIFTS, "0")
# These are read otherwise also where they are homogeneous.
SIMPLIFIED = {rare.spread, rare.distance, rare.difference, rare.of_two, rare.lerp, rare.transform}
AS_THEY_ARE = {rules.relu, rules.weighted}

OF_WEIGHTS: dict[rules.Rule, str] = {  # also where no argument depends on the input
    rules.quotient: "a fixed divisor",
    rules.normalise: "a fixed divisor",
    rules.normalisation: "a scale",
}


class Reading(NamedTuple):
    """One operation of the network, and how it is read."""

    name: str
    module: str
    reading: str


class Normalisation(NamedTuple):
    """One normalisation; scoring reads it as its scale."""

    name: str
    module: str
    by_input: bool  # it divides by statistics of its input, not by stored ones


class Itself(TorchFunctionMode):
    """Record what SynFlow reads otherwise; entered after `Positive`, so before it is replaced.

    Attributes:
        otherwise: Operations that are not homogeneous, and are read as others that are.
        simplified: Operations that are homogeneous, too, but read as others: differences as sums.
        normalisations: All normalisations, also those that are a scale.
    """

    def __init__(self, tracer: Tracer):
        """Take the tracer, which knows the streams and the running module."""
        super().__init__()
        self.tracer = tracer
        self.otherwise: list[Reading] = []
        self.simplified: list[Reading] = []
        self.normalisations: list[Normalisation] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`; look at it first if it is read otherwise."""
        kwargs = kwargs or {}
        rule = RULES.get(func)
        if rule is not None and rule not in AS_THEY_ARE:
            with torch._C.DisableTorchFunction():  # the function itself, not its reading
                self._look(func, rule, (args, kwargs))
        return func(*args, **kwargs)

    def _look(self, func: Callable[..., Any], rule: rules.Rule, given: Given) -> None:
        """Record a function if it is read otherwise."""
        tensors = list(tensors_in(*given))
        streams = [t for t in tensors if self.tracer.origin(t) is not None]
        weights = [t for t in tensors if self.tracer.constants.get(t)]
        # What was detached from the input varies with it all the same.
        varying = [t for t in tensors if t in self.tracer.streams] if streams else weights
        if not varying or not (streams or rule in OF_WEIGHTS):
            return
        name, module = name_of(func), self.tracer.module
        bent = rule is rules.attention or own_defect(func, given, varying) > HOMOGENEOUS
        if func in NORMALISATIONS:
            self.normalisations.append(Normalisation(name, module, bent))
        if bent:
            self.otherwise.append(_reading(name, module, rule, bool(streams)))
        elif len(streams) > 1 and rule is rules.addition and "sub" in name:
            self.simplified.append(Reading(name, module, "a sum"))
        elif rule in SIMPLIFIED:
            self.simplified.append(Reading(name, module, READ[rule]))


def _reading(name: str, module: str, rule: rules.Rule, streams: bool) -> Reading:
    if not streams:
        return Reading(f"{name} of weights", module, OF_WEIGHTS[rule])
    return Reading(f"{name} of a constant" if rule in SHIFTS else name, module, READ[rule])
