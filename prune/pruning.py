"""Algorithm 1 for any score: score the weights, keep the best, repeat."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import isclose

import torch
from torch import Tensor, nn

from prune.allocation import allocate, check_allocation
from prune.information import Check, check_of, facts_of_all
from prune.masks import Masks, check_masks, check_scores, kept, size, survivors
from prune.overflow import fitted
from prune.positive import FLOWS, flow_at_ends
from prune.probe import Probe, changed
from prune.progress import say, shown
from prune.schedules import MARGIN, Counts, check_choice, check_removal, counts_from, target
from prune.scores import SCORES, Score, synaptic_flow, synflow, synflow_l2
from prune.steps import Step
from prune.watch import Watch, check_values, warn_uncovered
from prune.weights import Choice, prunable

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
    layers: Choice | None = None,
    exclude: Choice = (),
    masks: Masks | None = None,
    progress: bool = False,
    allocation: str | None = None,
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
        layers: The weights to prune, as in `prunable`; None: its default.
        exclude: The weights that stay dense and do not count, as in `prunable`.
        masks: The masks to go on from, of some or all of these weights: the new ones lie within
            them, and compression still counts from N.
        progress: Show the steps and a last line on stderr.
        allocation: A name in `prune.allocation.ALLOCATIONS`, which fixes the number kept in each
            tensor; the score decides within it. None: the scores of all tensors decide.

    Returns:
        name -> bool tensor on the weight's device, in the order of `named_parameters`. Exactly
        ceil(N / compression) entries are True; "local": ceil(n / compression) of n in each tensor.
        The masks of later steps lie within those of earlier ones.

    Raises:
        ValueError: If an argument is not allowed, a weight is not finite, the model cannot be run,
            scores hold no information, or certified cannot remove so many; names the count that it
            reached.
        FloatingPointError: If scores leave the range of score_dtype (App. 11).

    Warns:
        LayerCollapse: If no path is left where there was one.
        Uncovered: If matrices of the model are neither pruned nor excluded.
        NoFlow: If weights score 0 from the start.
    """
    name, score = _look_up(score)
    if score is synflow_l2:  # synflow of the squared parameters, in all that follows
        score, probe = synflow, changed(probe, power=2)
    if score_dtype not in (torch.float64, torch.float32):
        raise ValueError(f"score_dtype must be torch.float64 or torch.float32, not {score_dtype}")
    weights = prunable(model, layers, exclude)
    check_values(model, weights)
    warn_uncovered(model, weights, layers, exclude)
    probe, start = changed(probe, dtype=score_dtype), _start(model, weights, masks)
    taken, steps = _steps(
        model, (name, score), start, probe, compression, steps, schedule, scope, allocation
    )
    watch = Watch(model, start, probe, score is synflow, single=steps == 1)
    last = None
    with shown(taken, steps, progress) as seen:
        for last in seen:
            watch.after(last)
            if report is not None:
                report(last)
    left = start if last is None else last.masks
    watch.warn(left)
    if progress:
        say(model, left, probe, watch)
    return left


def _steps(
    model: nn.Module,
    named: tuple[str, Score],
    start: Masks,
    probe: Probe,
    compression: float,
    steps: int | None,
    schedule: str,
    scope: str,
    allocation: str | None = None,
) -> tuple[Iterator[Step], int | None]:
    """Return the steps of a schedule, to be drawn, and their number; None for certified."""
    name, score = named
    if allocation is not None:
        check_allocation(allocation, schedule, scope)
    if score is synflow and (schedule == "certified" or not fast):  # else fast.scheduled does
        probe = fitted(model, start, probe)
    check, goal = check_of(model, name, score is synflow), target(size(start), compression)
    if schedule == "certified":
        _check_certified(model, score, start, probe, steps, scope)
        return (fast.certified if fast else _certified)(model, start, probe, goal, check), None
    steps = default_steps(score) if steps is None else steps
    counts = counts_from(start, compression, steps, schedule, scope)
    if allocation is not None:
        flow, _ = _steps(
            model, ("synflow", synflow), start, probe, compression, None, "exponential", "global"
        )
        counts = allocate(allocation, start, counts, (step.masks for step in flow))
    if score is synflow and fast:
        return fast.scheduled(model, start, probe, counts, check), steps
    return _scheduled(score, model, start, probe, counts, check), steps


def _start(
    model: nn.Module, weights: Mapping[str, Tensor], masks: Masks | None
) -> dict[str, Tensor]:
    """Return the masks to begin with: those given, and True for weights without one."""
    start = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    if masks is None:
        return start
    check_masks(model, masks)
    if foreign := [name for name in masks if name not in weights]:
        raise ValueError(f"mask {foreign[0]!r} is of a weight that is not to be pruned")
    return start | {name: mask.to(start[name].device).clone() for name, mask in masks.items()}


def default_steps(score: str | Score) -> int:
    """Return the pruning iterations of the paper (n): 100 for SynFlow, 1 for other scores.

    A function of the user that is meant for many steps has `iterative = True`, and gets 100.
    """
    iterative = score in (*FLOWS, synflow, synflow_l2) or getattr(score, "iterative", False)
    return 100 if iterative else 1


def _scheduled(
    score: Score, model: nn.Module, masks: Masks, probe: Probe, counts: Counts, check: Check
) -> Iterator[Step]:
    """Yield the steps of Algorithm 1. Each keeps the counts of its entry in `counts`."""
    for k, groups in enumerate(counts, 1):
        R, scores = _scored(score, model, masks, probe)  # lines 2 to 4
        if k == 1:
            check_scores(scores, masks)
            check(facts_of_all(scores, masks))
        left: dict[str, Tensor] = {}
        for names, keep in groups.items():  # one group, or one for each tensor
            left |= keep_top(scores, {name: masks[name] for name in names}, keep)  # lines 5, 6
        yield replace(_step(k, R, scores, masks, left), scale=probe.scale)
        masks = left


def _certified(
    model: nn.Module, masks: Masks, probe: Probe, goal: int, check: Check
) -> Iterator[Step]:
    """Yield steps that each remove the most weights whose total score stays below R (Theorem 4)."""
    k = 0
    while (alive := kept(masks)) > goal:
        R, scores = synaptic_flow(model, masks, probe)
        if k == 0:
            check(facts_of_all(scores, masks))
        prune_sizes = survivors(scores, masks).double().sort().values.cumsum(0)
        most = int((prune_sizes <= (1 - MARGIN) * R).sum())
        left, k = keep_top(scores, masks, max(goal, alive - most)), k + 1
        check_removal(alive, kept(left), goal, size(masks))
        yield replace(_step(k, R, scores, masks, left), scale=probe.scale)
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


def _look_up(score: str | Score) -> tuple[str, Score]:
    """Return the name and the score; a function is returned as it is."""
    if callable(score):
        known = {function: name for name, function in SCORES.items()}
        return known.get(score, getattr(score, "__name__", "this function")), score
    check_choice("score", score, tuple(SCORES))
    return score, SCORES[score]


def _check_certified(
    model: nn.Module, score: Score, masks: Masks, probe: Probe, steps: int | None, scope: str
) -> None:
    """Refuse what Theorem 4 does not cover: other scores, unconserved flow, closed networks."""
    if score is not synflow:
        allowed = " or ".join(FLOWS)
        raise ValueError(f"schedule 'certified' needs a conserved positive score: {allowed}")
    if steps is not None or scope != "global":
        raise ValueError("schedule 'certified' takes no steps, and scope 'global' only")
    at_input, at_output = flow_at_ends(model, masks, probe)
    if at_output == 0:
        raise ValueError("schedule 'certified' needs an open path, and this network has none")
    if not isclose(at_input, at_output, rel_tol=1e-6):
        raise ValueError(
            "schedule 'certified' needs a network that conserves synaptic flow (Theorem 2): "
            f"{at_input:g} enters this one and {at_output:g} leaves it"
        )
