"""Algorithm 1 for SynFlow on a small network, where calls of torch cost more than their work.

All weights are one vector, of which the network gets views. Their scores are one vector, too.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from math import isfinite

import torch
from torch import Size, Tensor

from prune.fast.flow import Network, synaptic_flow, within_range
from prune.fast.matrices import Matrix
from prune.fast.replay import plainly, replay
from prune.fast.selection import cuts, positions, refuse_infinite, whole
from prune.fast.tape import Tape
from prune.in_dtype import default_dtype
from prune.information import Check, facts_of
from prune.masks import top
from prune.schedules import Counts
from prune.scoring import Tensors, differentiated, settings
from prune.steps import Step

SMALL = 2**17  # weights
Shapes = dict[str, Size]


def scheduled_small(
    network: Network, tape: Tape, matrices: Mapping[str, Matrix], counts: Counts, check: Check
) -> Iterator[Step]:
    """Yield the steps of Algorithm 1, as `prune.fast.scheduled` does."""
    shapes = {name: matrix.shape for name, matrix in matrices.items()}
    theta = torch.cat([matrix.theta.view(-1) for matrix in matrices.values()])
    alive = positions(torch.cat([matrix.mask.view(-1) for matrix in matrices.values()]))
    for k, groups in enumerate(counts, 1):
        with settings(network.model), default_dtype(theta.dtype):
            R, scores = _flow(tape, theta, shapes)
        within_range(R, network, partial(_masks, alive, shapes))
        if k == 1:
            pairs = zip(_views(scores, shapes).items(), matrices.values(), strict=True)
            check({name: facts_of(S, m.mask.view(m.shape)) for (name, S), m in pairs})
        chosen = _chosen(scores, alive, shapes, groups)
        pruned, left = (alive.index_select(0, positions(part)) for part in (~chosen, chosen))
        removed = scores.index_select(0, pruned).sum(dtype=torch.float64).item()
        theta.index_fill_(0, pruned, 0)
        yield Step(
            k,
            len(left),
            R,
            removed / R if R else 0.0,
            partial(_rescored, network, alive, shapes),
            partial(_masks, left, shapes),
            network.probe.scale,
        )
        alive = left


def _rescored(network: Network, alive: Tensor, shapes: Shapes) -> Tensors:
    """Return all scores once more."""
    return synaptic_flow(network.model, _masks(alive, shapes), network.probe).scores


def _flow(tape: Tape, theta: Tensor, shapes: Shapes) -> tuple[float, Tensor]:
    """Return R (Eq. 5) and the scores dR/dtheta * theta (Eq. 6) as one vector."""
    given = {name: part.requires_grad_() for name, part in _views(theta.detach(), shapes).items()}
    R = replay(tape, given, plainly, small=False)
    dR_dtheta = differentiated(R, list(given.values()))
    return R.item(), torch.cat([g.reshape(-1) for g in dR_dtheta]).mul_(theta)


def _chosen(scores: Tensor, alive: Tensor, shapes: Shapes, groups: Mapping) -> Tensor:
    """Return bool, True for the survivors to keep: in each group the `keep` highest scores."""
    values = scores.index_select(0, alive)
    if not isfinite(values.sum().item()):
        pairs = zip(_views(scores, shapes).items(), _masks(alive, shapes).values(), strict=True)
        refuse_infinite({name: whole(S, mask) for (name, S), mask in pairs})
    if len(groups) == 1:
        return top(values, *groups.values())
    parts = cuts(alive, [shape.numel() for shape in shapes.values()])  # a group is one weight
    kept = zip(parts, groups.values(), strict=True)
    return torch.cat([top(values[part], keep) for part, keep in kept])


def _views(vector: Tensor, shapes: Shapes) -> Tensors:
    """Return the parts of a vector as tensors of these shapes."""
    parts = vector.split([shape.numel() for shape in shapes.values()])
    pairs = zip(shapes.items(), parts, strict=True)
    return {name: part.view(shape) for (name, shape), part in pairs}


def _masks(alive: Tensor, shapes: Shapes) -> Tensors:
    """Return the masks that are True at these places of the vector."""
    N = sum(shape.numel() for shape in shapes.values())
    mask = torch.zeros(N, dtype=torch.bool, device=alive.device)
    return {n: m.clone() for n, m in _views(mask.index_fill_(0, alive, True), shapes).items()}
