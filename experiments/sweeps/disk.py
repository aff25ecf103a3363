"""Estimates of the disk that runs take: checkpoints, masks and tables."""

import shutil
from collections.abc import Mapping
from math import log2
from pathlib import Path

from experiments.config import RunConfig
from experiments.sweeps.cost import size_of

TABLES = 30_000  # bytes of the result and the tables of a run
MASK = 1.4  # bytes of a compressed mask over those of its entropy


def needed(trainings: Mapping[RunConfig, int]) -> int:
    """Bytes of the files of runs.

    Args:
        trainings: The runs, and how many checkpoints each has that are not shared.
    """
    return round(sum(count * _checkpoint(c) + _masks(c) + TABLES for c, count in trainings.items()))


def free(folder: Path) -> int:
    """The free bytes of the disk that has the folder, or will have it."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def _checkpoint(config: RunConfig) -> int:
    """Bytes of the weights, their momentum and the buffers; 0 without training."""
    if config.epochs == 0:
        return 0
    try:
        size = size_of(config)
    except Exception:  # a network that cannot be built will also end its run
        return 0
    return 2 * size.weights + size.buffers


def _masks(config: RunConfig) -> float:
    """Bytes of the compressed masks, of each cycle and of the run, by their entropy."""
    try:
        N = size_of(config).N
    except Exception:  # as above
        return 0
    cycles = [config.compression ** -(k / config.cycles) for k in range(1, config.cycles + 1)]
    densities = [*cycles, 1 / config.compression]
    return sum(N * (1e-3 + MASK * _entropy(density) / 8) for density in densities)


def _entropy(density: float) -> float:
    """Bits of a random choice."""
    return -sum(p * log2(p) for p in (density, 1 - density) if p > 0)
