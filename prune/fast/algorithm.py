"""Algorithm 1 and `certified` for SynFlow, on matrices; the plain loops are in prune/pruning.py."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from prune.fast.flow import Matrices, Network, flow_gradients, read, synaptic_flow
from prune.fast.matrices import Matrix, cut_down, drop_, full_mask
from prune.fast.products import Gradient
from prune.fast.selection import Scored, lowest, lowest_within
from prune.fast.small import SMALL, scheduled_small
from prune.information import Check, Facts, facts_of
from prune.masks import Masks, size
from prune.probe import Probe
from prune.schedules import MARGIN, Counts, check_removal
from prune.scoring import Tensors
from prune.steps import Step


class Scoring(NamedTuple):
    """The result of scoring the remaining weights once."""

    R: float
    scored: dict[str, Scored]
    products: frozenset[str]  # weights used in products only, which can be cut down


def scheduled(
    model: nn.Module, masks: Masks, probe: Probe, counts: Counts, check: Check
) -> Iterator[Step]:
    """Yield the steps of Algorithm 1 for SynFlow; each keeps the counts of its entry in `counts`.

    Equal to `prune.pruning._scheduled` with the score `synflow`, up to rounding of the scores.
    """
    matrices: Matrices
    network, matrices = read(model, masks, probe)
    if network.tape is not None and size(masks) <= SMALL:
        yield from scheduled_small(network, network.tape, matrices, counts, check)
        return
    for k, groups in enumerate(counts, 1):
        scoring = _score(network, matrices)
        if k == 1:
            check(_facts(scoring))
        removed = 0.0
        pruned: dict[str, Tensor] = {}
        for names, keep in groups.items():
            alive = sum(matrices[name].kept for name in names)
            found = lowest({name: scoring.scored[name] for name in names}, alive - keep)
            removed += found.total
            pruned |= found.entries
        left = _without(matrices, pruned, scoring)
        yield _step(k, scoring.R, removed, left, _rescore(model, matrices, probe))
        matrices = left


def certified(
    model: nn.Module, masks: Masks, probe: Probe, goal: int, check: Check
) -> Iterator[Step]:
    """Yield steps that each remove the most weights whose total score stays below R (Theorem 4).

    Equal to `prune.pruning._certified`, up to rounding of the scores.

    Raises:
        ValueError: If no weight can be removed before `goal` weights are left.
    """
    matrices: Matrices
    (network, matrices), k = read(model, masks, probe), 0
    while (alive := _kept(matrices)) > goal:
        scoring = _score(network, matrices)
        if k == 0:
            check(_facts(scoring))
        found = lowest_within(scoring.scored, (1 - MARGIN) * scoring.R, alive - goal)
        left, k = _without(matrices, found.entries, scoring), k + 1
        check_removal(alive, _kept(left), goal, sum(m.shape.numel() for m in matrices.values()))
        yield _step(k, scoring.R, found.total, left, _rescore(model, matrices, probe))
        matrices = left


def _score(network: Network, matrices: Matrices) -> Scoring:
    """Score the remaining weights; single scores are formed when the selection reads them."""
    R, gradients = flow_gradients(network, matrices)
    products = frozenset(name for name, gradient in gradients.items() if gradient.rest is None)
    scored = {name: _scored(matrix, gradients[name]) for name, matrix in matrices.items()}
    return Scoring(R, scored, products)


def _facts(scoring: Scoring) -> dict[str, Facts]:
    """Return the facts about the scores of each weight, one weight at a time."""
    return {n: facts_of(one.rows(slice(None)), one.mask) for n, one in scoring.scored.items()}


def _scored(matrix: Matrix, gradient: Gradient) -> Scored:
    """Return S = dR/dtheta * theta (Eq. 1) of one matrix, to be formed by rows or by entries."""
    theta = matrix.theta

    def at(row: Tensor, column: Tensor) -> Tensor:
        place = row * theta.shape[1] + column
        return gradient.at(row, column).mul_(theta.view(-1).index_select(0, place))

    return Scored(
        matrix.mask,
        matrix.kept,
        rows=lambda part: gradient.rows(part).mul_(theta[part]),
        at=at,
    )


def _without(matrices: Matrices, pruned: Mapping[str, Tensor], scoring: Scoring) -> Matrices:
    """Prune entries, then leave out empty rows and columns of weights used in products only."""
    left = {name: drop_(matrix, pruned[name]) for name, matrix in matrices.items()}
    return left | {name: cut_down(left[name]) for name in scoring.products}


def _step(k: int, R: float, removed: float, left: Matrices, rescore: Callable[[], Tensors]) -> Step:
    ratio = removed / R if R else 0.0
    return Step(k, _kept(left), R, ratio, rescore, lambda: _masks(left))


def _rescore(model: nn.Module, matrices: Matrices, probe: Probe) -> Callable[[], Tensors]:
    """Return a function that computes all scores of these weights once more, as whole tensors."""
    return lambda: synaptic_flow(model, _masks(matrices), probe).scores


def _masks(matrices: Matrices) -> dict[str, Tensor]:
    return {name: full_mask(matrix) for name, matrix in matrices.items()}


def _kept(matrices: Matrices) -> int:
    return sum(matrix.kept for matrix in matrices.values())
