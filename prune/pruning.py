"""Algorithm 1 for any score: score, keep the best, repeat."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isclose

import torch
from torch import Tensor, nn

from prune.flow import Flow, flow_at_ends, synaptic_flow
from prune.masks import Masks, dense_masks, keep_top, kept, prunable, size, survivors
from prune.schedules import SCHEDULES, target
from prune.scores import SCORES, Score, synflow
from prune.scoring import Probe

SCOPES = ("global", "local")
Rescore = Callable[[Masks], Flow]
MARGIN = 1e-9  # what certified leaves of R, so that rounding cannot close the last path


@dataclass(frozen=True)
class Step:
    """What one pruning step did."""

    step: int
    kept: int  # weights that survive it
    scores: dict[str, Tensor]  # of the weights that survived the step before
    R: float | None  # the synflow objective before the step; None for other scores
    prune_cut_ratio: float | None  # total score removed / R (Theorem 4)


def prune(
    model: nn.Module,
    score: str | Score,
    probe: Probe,
    compression: float,
    steps: int | None = None,
    schedule: str = "exponential",
    scope: str = "global",
    score_dtype: torch.dtype = torch.float64,
    report: Callable[[Step], None] | None = None,
) -> dict[str, Tensor]:
    """Find the masks that leave ceil(N / compression) of N prunable weights (Algorithm 1).

    Args:
        model: Read, not changed; `apply(model, masks)` does that.
        score: A name in SCORES, or a function (model, masks, probe) -> scores.
        probe: What the score may look at.
        compression: rho >= 1; 100 keeps 1 %.
        steps: Pruning iterations n; None: 100 for synflow, 1 otherwise.
        schedule: "exponential" leaves ceil(N rho^(-k/n)) after step k, "linear" removes equal
            numbers, "certified" removes at each step all it can while the prune size stays
            below the cut size (Theorem 4), in as many steps as that takes.
        scope: "global" ranks all weights together, "local" each tensor by itself.
        score_dtype: float64 by definition; float32 masks depend on the convolution kernel.
        report: Called after each step.

    Returns:
        name -> bool tensor on the weight's device, in the order of `named_parameters`. Exactly
        the asked number is True ("local": in each tensor); the masks of the steps nest.

    Raises:
        ValueError: If an argument is not allowed, a weight is not finite, or certified cannot
            go that far; it names the count that it reached.
        FloatingPointError: If scores leave the range of score_dtype.
    """
    score = _look_up(score)
    if score_dtype not in (torch.float64, torch.float32):
        raise ValueError(f"score_dtype must be torch.float64 or torch.float32, not {score_dtype}")
    probe = replace(probe, dtype=score_dtype)
    masks = dense_masks(model)
    goal = target(size(masks), compression)
    _check_finite(model)

    def rescore(masks: Masks) -> Flow:
        if score is synflow:
            return synaptic_flow(model, masks, probe)
        return Flow(None, score(model, masks, probe))

    if schedule == "certified":
        _check_certified(model, score, probe, steps, scope)
        rounds = _certified(rescore, masks, goal)
    else:
        steps = (100 if score is synflow else 1) if steps is None else steps
        rounds = _scheduled(rescore, masks, compression, steps, schedule, scope)
    for step, (flow, fewer) in enumerate(rounds, 1):
        if report is not None:
            report(_describe(step, flow, masks, fewer))
        masks = fewer
    return masks


def _scheduled(
    rescore: Rescore, masks: Masks, compression: float, steps: int, schedule: str, scope: str
) -> Iterator[tuple[Flow, Masks]]:
    """Each step leaves what the schedule says: of all weights, or of each tensor by itself."""
    _check_choice("schedule", schedule, (*SCHEDULES, "certified"))
    _check_choice("scope", scope, SCOPES)
    if steps < 1 or steps != int(steps):
        raise ValueError(f"steps must be a whole number of at least 1, not {steps}")
    steps = int(steps)  # a NumPy integer would overflow in a power
    count = SCHEDULES[schedule]
    for step in range(1, steps + 1):
        flow = rescore(masks)
        if scope == "global":
            masks = keep_top(flow.scores, masks, count(size(masks), compression, step, steps))
        else:
            masks = {
                name: keep_top(flow.scores, {name: m}, count(m.numel(), compression, step, steps))[
                    name
                ]
                for name, m in masks.items()
            }
        yield flow, masks


def _certified(rescore: Rescore, masks: Masks, goal: int) -> Iterator[tuple[Flow, Masks]]:
    """Each step removes the most weights whose total score stays below R (Theorem 4)."""
    while (alive := kept(masks)) > goal:
        flow = rescore(masks)
        fewer = max(goal, alive - removable(survivors(flow.scores, masks), flow.R))
        if fewer == alive:
            raise ValueError(
                f"certified stops at {alive:,} weights, short of {goal:,}: removing any one more "
                f"would close the last path; compression {size(masks) / alive:g} can be reached"
            )
        masks = keep_top(flow.scores, masks, fewer)
        yield flow, masks


def removable(scores: Tensor, R: float) -> int:
    """How many of the lowest scores (n,) sum to at most (1 - MARGIN) R, in float64."""
    prune_size = scores.double().sort().values.cumsum(0)
    return int((prune_size <= (1 - MARGIN) * R).sum())


def _describe(step: int, flow: Flow, before: Masks, after: Masks) -> Step:
    ratio = None
    if flow.R is not None:
        removed = {name: before[name] & ~mask for name, mask in after.items()}
        prune_size = survivors(flow.scores, removed).sum(dtype=torch.float64).item()
        ratio = prune_size / flow.R if flow.R else 0.0
    return Step(step, kept(after), flow.scores, flow.R, ratio)


def _look_up(score: str | Score) -> Score:
    if callable(score):
        return score
    _check_choice("score", score, tuple(SCORES))
    return SCORES[score]


def _check_choice(what: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(f"{what} {given!r} is unknown; choose from {', '.join(allowed)}")


def _check_finite(model: nn.Module) -> None:
    bad = [name for name, weight in prunable(model).items() if not weight.isfinite().all()]
    if bad:
        raise ValueError(f"weights are not finite (NaN or infinite) in {', '.join(bad)}")


def _check_certified(
    model: nn.Module, score: Score, probe: Probe, steps: int | None, scope: str
) -> None:
    if score is not synflow:
        raise ValueError("schedule 'certified' needs a conserved positive score: synflow")
    if steps is not None or scope != "global":
        raise ValueError("schedule 'certified' takes no steps, and scope 'global' only")
    at_input, at_output = flow_at_ends(model, dense_masks(model), probe)
    if at_output == 0:
        raise ValueError("schedule 'certified' needs an open path, and this network has none")
    if not isclose(at_input, at_output, rel_tol=1e-6):
        raise ValueError(
            "schedule 'certified' needs a network that conserves synaptic flow (Theorem 2): "
            f"{at_input:g} enters this one and {at_output:g} leaves it"
        )
