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
    return round(sum(TABLES + _arrays(config, count) for config, count in trainings.items()))


def free(folder: Path) -> int:
    """The free bytes of the disk that has the folder, or will have it."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def _arrays(config: RunConfig, checkpoints: int) -> float:
    """Bytes of the masks of a run and of its checkpoints: weights, their momentum, buffers."""
    try:
        size = size_of(config)
    except Exception:  # a network that cannot be built will also end its run
        return 0
    trained = config.epochs > 0
    return trained * checkpoints * (2 * size.weights + size.buffers) + _masks(config, size.N)


def _masks(config: RunConfig, N: int) -> float:
    """Bytes of the compressed masks, of each cycle and of the run, by their entropy."""
    cycles = [config.compression ** -(k / config.cycles) for k in range(1, config.cycles + 1)]
    densities = [*cycles, 1 / config.compression]
    return sum(N * (1e-3 + MASK * _entropy(density) / 8) for density in densities)


def _entropy(density: float) -> float:
    """Bits of a random choice."""
    return -sum(p * log2(p) for p in (density, 1 - density) if p > 0)
