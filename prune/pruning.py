"""Algorithm 1 for any score: score the weights, keep the best, repeat."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import isclose

import torch
from torch import Tensor, nn

from prune.masks import Masks, dense_masks, kept, prunable, size, survivors
from prune.positive import flow_at_ends
from prune.schedules import MARGIN, Counts, check_choice, check_removal, counts_of_steps, target
from prune.scores import SCORES, Score, synaptic_flow, synflow
from prune.scoring import Probe
from prune.steps import Step

try:  # the same masks, sooner
    import prune.fast as fast
    from prune.fast import keep_top
except ModuleNotFoundError as error:
    if error.name != "prune.fast":
        raise
    # The folder prune/fast was deleted. This file and prune/masks.py suffice.
    from prune.masks import keep_top

    fast = None  # type: ignore[assignment]


@torch.inference_mode(False)  # scores need gradients
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
    """Find the masks that keep ceil(N / compression) of N prunable weights (Algorithm 1).

    Args:
        model: Read, not changed; `apply(model, masks)` changes it.
        score: A name in SCORES, or a function (model, masks, probe) -> scores.
        probe: The data that the score may read.
        compression: rho >= 1; 100 keeps 1 %.
        steps: Pruning iterations n; None: `default_steps(score)`.
        schedule: "exponential" keeps ceil(N rho^(-k/n)) after step k. "linear" removes equal
            numbers. "certified" removes at each step the most weights whose total score (prune
            size) stays below R (cut size, Theorem 4), in as many steps as that takes.
        scope: "global" compares the scores of all weights, "local" those within each tensor.
        score_dtype: float64 by definition; float32 masks depend on the convolution kernel.
        report: Called with a `Step` after each step.

    Returns:
        name -> bool tensor on the weight's device, in the order of `named_parameters`. Exactly
        ceil(N / compression) entries are True; "local": ceil(n / compression) of n in each tensor.
        The masks of later steps lie within those of earlier ones.

    Raises:
        ValueError: If an argument is not allowed, a weight is not finite, or certified cannot
            remove so many; names the count that it reached.
        FloatingPointError: If scores leave the range of score_dtype (App. 11).
    """
    score = _look_up(score)
    if score_dtype not in (torch.float64, torch.float32):
        raise ValueError(f"score_dtype must be torch.float64 or torch.float32, not {score_dtype}")
    probe, masks = replace(probe, dtype=score_dtype), dense_masks(model)
    goal = target(size(masks), compression)
    _check_finite(model)
    if schedule == "certified":
        _check_certified(model, score, probe, steps, scope)
        taken = (fast.certified if fast else _certified)(model, masks, probe, goal)
    else:
        steps = default_steps(score) if steps is None else steps
        sizes = {name: mask.numel() for name, mask in masks.items()}
        counts = counts_of_steps(sizes, compression, steps, schedule, scope)
        if score is synflow and fast:
            taken = fast.scheduled(model, masks, probe, counts)
        else:
            taken = _scheduled(score, model, masks, probe, counts)
    step = None
    for step in taken:
        if report is not None:
            report(step)
    return masks if step is None else step.masks


def default_steps(score: str | Score) -> int:
    """Return the pruning iterations of the paper (n): 100 for synflow, 1 for other scores."""
    return 100 if score in ("synflow", synflow) else 1


def _scheduled(
    score: Score, model: nn.Module, masks: Masks, probe: Probe, counts: Counts
) -> Iterator[Step]:
    """Yield the steps of Algorithm 1. Each keeps the counts of its entry in `counts`."""
    for k, groups in enumerate(counts, 1):
        R, scores = _scored(score, model, masks, probe)  # lines 2 to 4
        left: dict[str, Tensor] = {}
        for names, keep in groups.items():  # one group, or one for each tensor
            left |= keep_top(scores, {name: masks[name] for name in names}, keep)  # lines 5, 6
        yield _step(k, R, scores, masks, left)
        masks = left


def _certified(model: nn.Module, masks: Masks, probe: Probe, goal: int) -> Iterator[Step]:
    """Yield steps that each remove the most weights whose total score stays below R (Theorem 4)."""
    k = 0
    while (alive := kept(masks)) > goal:
        R, scores = synaptic_flow(model, masks, probe)
        prune_sizes = survivors(scores, masks).double().sort().values.cumsum(0)
        most = int((prune_sizes <= (1 - MARGIN) * R).sum())
        left, k = keep_top(scores, masks, max(goal, alive - most)), k + 1
        check_removal(alive, kept(left), goal, size(masks))
        yield _step(k, R, scores, masks, left)
        masks = left


def _scored(
    score: Score, model: nn.Module, masks: Masks, probe: Probe
) -> tuple[float | None, dict[str, Tensor]]:
    """Return R (None for scores other than synflow) and the scores."""
    if score is synflow:
        return synaptic_flow(model, masks, probe)
    return None, score(model, masks, probe)


def _step(
    k: int, R: float | None, scores: dict[str, Tensor], masks: Masks, left: dict[str, Tensor]
) -> Step:
    """Return the description of one step; its prune/cut ratio is the score removed over R."""
    ratio = None
    if R is not None:
        pruned = {name: mask & ~left[name] for name, mask in masks.items()}
        removed = survivors(scores, pruned).sum(dtype=torch.float64).item()
        ratio = removed / R if R else 0.0
    return Step(k, kept(left), R, ratio, lambda: scores, lambda: left)


def _look_up(score: str | Score) -> Score:
    """Return the score of this name; a function is returned as it is."""
    if callable(score):
        return score
    check_choice("score", score, tuple(SCORES))
    return SCORES[score]


def _check_finite(model: nn.Module) -> None:
    """Refuse weights that are NaN or infinite, and name them."""
    bad = [name for name, weight in prunable(model).items() if not weight.isfinite().all()]
    if bad:
        raise ValueError(f"weights are not finite (NaN or infinite) in {', '.join(bad)}")


def _check_certified(
    model: nn.Module, score: Score, probe: Probe, steps: int | None, scope: str
) -> None:
    """Refuse what Theorem 4 does not cover: other scores, unconserved flow, closed networks."""
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
