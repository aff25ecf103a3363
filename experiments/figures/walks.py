"""SynFlow from step to step: what Figs 2 and 7 read of Algorithm 1, one cell per schedule.

Steps that two cells have in common are taken once: cells whose counts begin alike share a walk,
and every walk begins with the scores of the dense network.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from experiments.config import DTYPES, RunConfig
from experiments.figures import cells
from experiments.progress import Progress
from experiments.run import initial_model, probe_shape
from prune import Probe
from prune.flow import Flow, synaptic_flow
from prune.masks import Masks, dense_masks, keep_top, size
from prune.schedules import SCHEDULES


class Cell(NamedTuple):
    """One SynFlow pruning: its schedule, final compression and number of steps."""

    schedule: str
    compression: float
    steps: int

    def path(self, config: RunConfig) -> Path:
        """The file of the cell."""
        name = f"synflow-{self.schedule}-{self.compression:g}-steps{self.steps}.json"
        return cells.folder(config) / name

    def counts(self, N: int) -> tuple[int, ...]:
        """How many of N weights each step leaves."""
        count = SCHEDULES[self.schedule]
        return tuple(count(N, self.compression, k, self.steps) for k in range(1, self.steps + 1))


Walk = list[tuple[Cell, tuple[int, ...]]]  # the first cell goes furthest


def walks(wanted: Iterable[Cell], N: int) -> list[Walk]:
    """Group cells so that the counts of each begin the counts of its group's first.

    Returns:
        Groups from the shortest to the longest.
    """
    groups: list[Walk] = []
    for cell in sorted(wanted, key=lambda cell: -cell.steps):
        counts = cell.counts(N)
        group = next((g for g in groups if g[0][1][: len(counts)] == counts), None)
        if group is None:
            groups.append([(cell, counts)])
        else:
            group.append((cell, counts))
    return groups[::-1]


def compute(config: RunConfig, wanted: Sequence[Cell], progress: Progress) -> None:
    """Prune the network once for each walk, and save each cell where its last step is done.

    A cell says how many weights are kept in each tensor, and the largest prune size / cut size
    of its steps (Theorem 4). Cells that are saved already are skipped.
    """
    wanted = [cell for cell in wanted if not cell.path(config).exists()]
    if not wanted:
        return
    model = initial_model(config)
    probe = Probe(probe_shape(config), dtype=DTYPES[config.score_dtype])
    dense = dense_masks(model)
    plan = walks(wanted, size(dense))
    progress.begin("synflow steps", 1 + sum(len(walk[0][1]) - 1 for walk in plan))
    start = synaptic_flow(model, dense, probe)
    progress.tick()
    for walk in plan:
        _take(config, walk, (model, dense, probe), start, progress)


def _take(
    config: RunConfig,
    walk: Walk,
    network: tuple[nn.Module, Masks, Probe],
    flow: Flow,
    progress: Progress,
) -> None:
    model, masks, probe = network
    worst = 0.0
    for step, keep in enumerate(walk[0][1], 1):
        if step > 1:
            flow = synaptic_flow(model, masks, probe)
            progress.tick()
        fewer = keep_top(flow.scores, masks, keep)
        worst = max(worst, prune_cut_ratio(flow, masks, fewer))
        masks = fewer
        for cell, counts in walk:
            if len(counts) == step:
                cells.save(cell.path(config), cell._asdict() | _found(masks, worst))


def _found(masks: Masks, worst: float) -> dict:
    return {
        "max_prune_cut_ratio": worst,
        "sizes": {name: mask.numel() for name, mask in masks.items()},
        "kept": {name: int(mask.sum()) for name, mask in masks.items()},
    }


def prune_cut_ratio(flow: Flow, before: Masks, after: Masks) -> float:
    """Total score of what was removed / R (Theorem 4); 0 once no path is left."""
    removed = (
        flow.scores[name][before[name] & ~mask].double().sum() for name, mask in after.items()
    )
    return (sum(removed) / flow.R).item() if flow.R else 0.0
