"""Algorithm 1 for any score: score, prune the lowest, repeat."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import isclose
from typing import NamedTuple

import torch
from torch import Tensor, nn

from prune.fast.flow import flow_at_ends, flow_gradients, scored
from prune.fast.matrices import Matrix, cut_down, full_mask, matrix_of, without
from prune.fast.selection import Found, Scored, lowest, lowest_within
from prune.masks import dense_masks, prunable
from prune.schedules import SCHEDULES, target
from prune.scores import SCORES, Score, synflow
from prune.scoring import Probe

SCOPES = ("global", "local")
MARGIN = 1e-9  # what certified leaves of R, so that rounding cannot close the last path


@dataclass(frozen=True)
class Step:
    """What one pruning step did."""

    step: int
    kept: int  # weights that survive it
    R: float | None  # the synflow objective before the step; None for other scores
    prune_cut_ratio: float | None  # total score removed / R (Theorem 4)
    rescore: Callable[[], dict[str, Tensor]]

    @cached_property
    def scores(self) -> dict[str, Tensor]:
        """Of the weights that survived the step before; made when asked for, from the model."""
        return self.rescore()


Matrices = Mapping[str, Matrix]


class Ranking(NamedTuple):
    """What one scoring tells of the weights that are left."""

    R: float | None
    scored: dict[str, Scored]
    scores: Callable[[], dict[str, Tensor]]  # all, as tensors
    divisible: frozenset[str] = frozenset()  # weights that can be cut down


Rank = Callable[[Matrices], Ranking]
Round = tuple[Ranking, Found, Matrices]  # what was known, what was pruned, what is left


@torch.inference_mode(False)  # as in `synaptic_flow`
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
    weights, masks = prunable(model), dense_masks(model)
    goal = target(sum(weight.numel() for weight in weights.values()), compression)
    _check_finite(model)
    flows = score is synflow
    dtype = score_dtype if flows else None
    matrices = {name: matrix_of(weights[name], mask, dtype) for name, mask in masks.items()}
    rank = _by_flow(model, probe) if flows else partial(_by_score, model, score, probe)
    if schedule == "certified":
        _check_certified(model, score, probe, steps, scope)
        rounds = _certified(rank, matrices, goal)
    else:
        steps = (100 if flows else 1) if steps is None else steps
        rounds = _scheduled(rank, matrices, compression, steps, schedule, scope)
    for step, (ranking, found, matrices) in enumerate(rounds, 1):
        if report is not None:
            report(_described(step, ranking, found, matrices))
    return _masks(matrices)


def _by_flow(model: nn.Module, probe: Probe) -> Rank:
    """SynFlow's scores, formed only where the selection looks at them."""

    def rank(matrices: Matrices) -> Ranking:
        R, gradients = flow_gradients(model, matrices, probe)
        return Ranking(
            R,
            {name: scored(matrix, gradients[name]) for name, matrix in matrices.items()},
            lambda: synflow(model, _masks(matrices), probe),
            frozenset(name for name, gradient in gradients.items() if gradient.rest is None),
        )

    return rank


def _by_score(model: nn.Module, score: Score, probe: Probe, matrices: Matrices) -> Ranking:
    """Scores of any kind, whole tensors."""
    scores = score(model, _masks(matrices), probe)
    for name, matrix in matrices.items():
        if name not in scores or scores[name].shape != matrix.shape:
            raise ValueError(f"scores lack a tensor {name!r} of shape {tuple(matrix.shape)}")
    flat = {name: scores[name].reshape(m.mask.shape) for name, m in matrices.items()}
    return Ranking(
        None,
        {
            name: Scored(m.mask, m.kept, flat[name].__getitem__, lambda *at, S=flat[name]: S[at])
            for name, m in matrices.items()
        },
        lambda: scores,
    )


def _scheduled(
    rank: Rank, matrices: Matrices, compression: float, steps: int, schedule: str, scope: str
) -> Iterator[Round]:
    """Each step leaves what the schedule says: of all weights, or of each tensor by itself."""
    _check_choice("schedule", schedule, (*SCHEDULES, "certified"))
    _check_choice("scope", scope, SCOPES)
    if steps < 1 or steps != int(steps):
        raise ValueError(f"steps must be a whole number of at least 1, not {steps}")
    steps = int(steps)  # a NumPy integer would overflow in a power
    groups = [[*matrices]] if scope == "global" else [[name] for name in matrices]
    for step in range(1, steps + 1):
        ranking, parts = rank(matrices), []
        for names in groups:
            of_group = {name: matrices[name] for name in names}
            N = sum(matrix.shape.numel() for matrix in of_group.values())
            keep = SCHEDULES[schedule](N, compression, step, steps)
            scored = {name: ranking.scored[name] for name in names}
            parts.append(lowest(scored, _alive(of_group) - keep))
        entries = {name: places for part in parts for name, places in part.entries.items()}
        found = Found(sum(part.total for part in parts), entries)
        matrices = _without(matrices, found, ranking)
        yield ranking, found, matrices


def _certified(rank: Rank, matrices: Matrices, goal: int) -> Iterator[Round]:
    """Each step removes the most weights whose total score stays below R (Theorem 4)."""
    while (alive := _alive(matrices)) > goal:
        ranking = rank(matrices)
        found = lowest_within(ranking.scored, (1 - MARGIN) * ranking.R, alive - goal)
        if not any(map(len, found.entries.values())):
            N = sum(matrix.shape.numel() for matrix in matrices.values())
            raise ValueError(
                f"certified stops at {alive:,} weights, short of {goal:,}: removing any one more "
                f"would close the last path; compression {N / alive:g} can be reached"
            )
        matrices = _without(matrices, found, ranking)
        yield ranking, found, matrices


def _without(matrices: Matrices, found: Found, ranking: Ranking) -> Matrices:
    """What is left, cut down where that can be done."""
    left = {name: without(matrix, found.entries[name]) for name, matrix in matrices.items()}
    return left | {name: cut_down(left[name]) for name in ranking.divisible}


def _masks(matrices: Matrices) -> dict[str, Tensor]:
    return {name: full_mask(matrix) for name, matrix in matrices.items()}


def _alive(matrices: Matrices) -> int:
    return sum(matrix.kept for matrix in matrices.values())


def _described(step: int, ranking: Ranking, found: Found, left: Matrices) -> Step:
    ratio = None
    if ranking.R is not None:
        ratio = found.total / ranking.R if ranking.R else 0.0
    return Step(step, _alive(left), ranking.R, ratio, ranking.scores)


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
