"""Algorithm 1 and `certified` for SynFlow, on matrices; the plain loops are in prune/pruning.py."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import NamedTuple

from torch import Tensor, nn

from prune.fast.flow import Matrices, Network, flow_gradients, read, read_in_range, synaptic_flow
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
    network, matrices = read_in_range(model, masks, probe)
    if network.tape is not None and size(masks) <= SMALL:
        yield from scheduled_small(network, network.tape, matrices, counts, check)
        return
    for k, groups in enumerate(counts, 1):
        R, scored, products = _score(network, matrices)
        if k == 1:
            check(_facts(scored))
        removed = 0.0
        pruned: dict[str, Tensor] = {}
        for names, keep in groups.items():
            alive = sum(matrices[name].kept for name in names)
            found = lowest({name: scored[name] for name in names}, alive - keep)
            removed += found.total
            pruned |= found.entries
        scored, before = {}, _kept_part(matrices)
        _prune_(matrices, pruned, products)
        yield _step(k, R, removed, network, before, _kept_part(matrices))


def certified(
    model: nn.Module, masks: Masks, probe: Probe, goal: int, check: Check
) -> Iterator[Step]:
    """Yield steps that each remove the most weights whose total score stays below R (Theorem 4).

    Equal to `prune.pruning._certified`, up to rounding of the scores.

    Raises:
        ValueError: If no weight can be removed before `goal` weights are left.
    """
    (network, matrices), k = read(model, masks, probe), 0
    while (alive := _kept(matrices)) > goal:
        R, scored, products = _score(network, matrices)
        if k == 0:
            check(_facts(scored))
        found = lowest_within(scored, (1 - MARGIN) * R, alive - goal)
        scored, before, k = {}, _kept_part(matrices), k + 1
        _prune_(matrices, found.entries, products)
        check_removal(alive, _kept(matrices), goal, size(masks))
        yield _step(k, R, found.total, network, before, _kept_part(matrices))


def _score(network: Network, matrices: Matrices) -> Scoring:
    """Score the remaining weights; single scores are formed when the selection reads them."""
    R, gradients = flow_gradients(network, matrices)
    products = frozenset(name for name, gradient in gradients.items() if gradient.rest is None)
    scored = {name: _scored(matrix, gradients[name]) for name, matrix in matrices.items()}
    return Scoring(R, scored, products)


def _facts(scored: Mapping[str, Scored]) -> dict[str, Facts]:
    """Return the facts about the scores of each weight, one weight at a time."""
    return {name: facts_of(one.rows(slice(None)), one.mask) for name, one in scored.items()}


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
        finite=isfinite(gradient.bound()),
    )


def _prune_(
    matrices: dict[str, Matrix], pruned: Mapping[str, Tensor], products: frozenset[str]
) -> None:
    """Prune entries, and leave out empty rows and columns of weights used in products only.

    In place, one weight after the other: nothing else may hold the matrices, which are large.
    """
    for name in matrices:
        left = matrices[name] = drop_(matrices[name], pruned[name])
        if name in products:
            matrices[name] = cut_down(left)


def _kept_part(matrices: Matrices) -> Matrices:
    """Return the matrices without theta: the masks are all that a `Step` needs to hold."""
    return {name: replace(m, theta=m.theta.new_empty(0)) for name, m in matrices.items()}


def _step(
    k: int, R: float, removed: float, network: Network, before: Matrices, left: Matrices
) -> Step:
    def rescore() -> Tensors:
        return synaptic_flow(network.model, _masks(before), network.probe).scores

    ratio = removed / R if R else 0.0
    return Step(k, _kept(left), R, ratio, rescore, lambda: _masks(left), network.probe.scale)


def _masks(matrices: Matrices) -> dict[str, Tensor]:
    return {name: full_mask(matrix) for name, matrix in matrices.items()}


def _kept(matrices: Matrices) -> int:
    return sum(matrix.kept for matrix in matrices.values())
