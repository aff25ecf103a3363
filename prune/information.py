"""Scores without information: refused, or named in a warning."""

import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from prune.masks import Masks
from prune.notices import NoFlow, listed
from prune.positive import FLOWS, zeros

NOISE = 1e-9  # the part of the largest score that a score may be below 0
MENTIONED = 0.001  # the least share of weights without flow that is worth a warning
PART = 0.2  # the least part of one weight that is named; of other scores only whole weights


class Facts(NamedTuple):
    """The scores of one weight, in short; pruned entries do not count."""

    size: int
    zero: int
    least: float
    largest: float  # by magnitude


Check = Callable[[Mapping[str, Facts]], None]  # of the scores of the first step


def facts_of(scores: Tensor, mask: Tensor) -> Facts:
    """Return the facts about scores, all of them of the shape of `mask`."""
    size = int(mask.count_nonzero())
    if size == 0:
        return Facts(0, 0, 0.0, 0.0)
    zero = int(mask.numel() - scores.count_nonzero()) - (mask.numel() - size)
    least, most = (x.item() for x in torch.aminmax(scores))
    return Facts(size, zero, least, max(abs(least), abs(most)))


def check_of(model: nn.Module, score: str, positive: bool) -> Check:
    """Return the check of the first scores of `prune`.

    Args:
        model: Read for its parameters that are 0 throughout.
        score: Its name, for the texts.
        positive: True if scores below 0 contradict the definition of the score.

    The check raises ValueError if all scores are 0, or negative where they must not be. It warns
    `NoFlow` with the names of weights that score 0.
    """

    def check(facts: Mapping[str, Facts]) -> None:
        largest = max(one.largest for one in facts.values())
        if largest == 0:
            raise ValueError(f"all scores of {score} are 0 and choose nothing{_cure(model, score)}")
        below = [name for name, one in facts.items() if one.least < -NOISE * largest]
        if positive and below:
            raise ValueError(
                f"scores of {score} are negative, first in {below[0]}, so the network is not read "
                "as a positive one: an operation that is not known changes signs"
            )
        _warn(model, score, facts)

    return check


def _warn(model: nn.Module, score: str, facts: Mapping[str, Facts]) -> None:
    """Warn of weights that score 0 before anything is pruned, and of tensors that were 0."""
    if score in FLOWS and (found := zeros(model)):
        warnings.warn(
            f"{_some(found)} 0 throughout (zero-initialised) and would stop the flow; synflow "
            "reads 1 in their place",
            NoFlow,
            stacklevel=6,
        )
    size, zero = (sum(one[i] for one in facts.values()) for i in (0, 1))
    named = [
        name if one.zero == one.size else f"{one.zero / one.size:.0%} of {name}"
        for name, one in facts.items()
        if one.size and one.zero / one.size >= (PART if score in FLOWS else 1)
    ]
    if zero / size >= MENTIONED and named:
        warnings.warn(
            f"{zero / size:.1%} of the weights score 0 with {score} and go first: "
            f"{listed(named, 4)}{_cause(model, score)}; `exclude` keeps them",
            NoFlow,
            stacklevel=6,
        )


def _cause(model: nn.Module, score: str) -> str:
    """Return the reason why weights score 0, as far as it is known."""
    if score in FLOWS:
        return " (they lead to no output, read only padding, or feed only gates, queries or keys)"
    found = zeros(model)
    return f" ({_some(found)} 0 throughout)" if found else ""


def _cure(model: nn.Module, score: str) -> str:
    """Return what may be done if all scores are 0."""
    found = zeros(model)
    if score in FLOWS:
        return ": no path leads from the input to an output"
    if found:
        return f": {_some(found)} 0 throughout (zero-initialised), so initialise before pruning"
    return "; does the loss depend on the outputs? score the logits, of two classes or more"


def _some(names: list[str]) -> str:
    """Return the first names of a list and the verb that fits."""
    return f"{listed(names, 3)} {'is' if len(names) == 1 else 'are'}"


def facts_of_all(scores: Mapping[str, Tensor], masks: Masks) -> dict[str, Facts]:
    """Return the facts about all scores."""
    return {name: facts_of(scores[name], mask) for name, mask in masks.items()}
