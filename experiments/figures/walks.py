"""Walks: runs of Algorithm 1 with SynFlow whose steps give the cells of Figs 2 and 7.

Two cells share a walk if the weights kept after each step of the shorter one are also the first
counts of the longer one. Their common steps are computed once.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from experiments.config import DTYPES, RunConfig
from experiments.figures import cells
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.progress import Progress
from prune import Probe, Step, prunable, prune
from prune.schedules import SCHEDULES


class Cell(NamedTuple):
    """One SynFlow pruning: its schedule, final compression and number of steps."""

    schedule: str
    compression: float
    steps: int

    def path(self, config: RunConfig) -> Path:
        """Name the file of the cell."""
        name = f"synflow-{self.schedule}-{self.compression:g}-steps{self.steps}.json"
        return cells.folder(config) / name

    def counts(self, N: int) -> tuple[int, ...]:
        """List the number of weights, of N, that are left after each step."""
        count = SCHEDULES[self.schedule]
        return tuple(count(N, self.compression, k, self.steps) for k in range(1, self.steps + 1))


Walk = list[
    tuple[Cell, tuple[int, ...]]
]  # cells, each with its counts; the first has the most steps


def walks(wanted: Iterable[Cell], N: int) -> list[Walk]:
    """Group cells into walks: the counts of each cell begin those of its group's first cell.

    Returns:
        The walks from the shortest to the longest.
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
    """Prune the network once for each walk, and save each cell after its last step.

    A cell holds the largest prune size / cut size of its steps (Theorem 4). The cell with the most
    steps of a walk also holds the number of weights kept in each tensor. Saved cells are skipped,
    and so are compressions that leave less than one weight.
    """
    wanted = [cell for cell in wanted if not cell.path(config).exists()]
    if not wanted:
        return
    model = initial_model(config)
    N = sum(weight.numel() for weight in prunable(model).values())
    planned = walks([cell for cell in wanted if cell.compression <= N], N)
    progress.begin("synflow steps", sum(walk[0][0].steps for walk in planned))
    for walk in planned:
        _take(config, model, [cell for cell, _ in walk], progress)


def _take(config: RunConfig, model: nn.Module, walk: list[Cell], progress: Progress) -> None:
    """Prune by the first cell of the walk; save the others on the way."""
    ratios: list[float] = []

    def report(step: Step) -> None:
        ratios.append(step.prune_cut_ratio)
        for cell in walk[1:]:
            if cell.steps == step.step:
                cells.save(cell.path(config), cell._asdict() | {"max_prune_cut_ratio": max(ratios)})
        progress.tick()

    end = walk[0]
    masks = prune(
        model,
        "synflow",
        Probe(probe_shape(config)),
        end.compression,
        end.steps,
        end.schedule,
        score_dtype=DTYPES[config.score_dtype],
        report=report,
    )
    found = {
        "max_prune_cut_ratio": max(ratios),
        "sizes": {name: mask.numel() for name, mask in masks.items()},
        "kept": {name: int(mask.sum()) for name, mask in masks.items()},
    }
    cells.save(end.path(config), end._asdict() | found)
