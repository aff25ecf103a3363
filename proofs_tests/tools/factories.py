"""Models for tests that name them as `proofs_tests.tools.factories:NAME`; some misbehave."""

import multiprocessing
import os
from pathlib import Path

import torch
from torch import nn


def small(num_classes: int) -> nn.Module:
    """A small network for 8 x 8 images."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_classes))


def broken(num_classes: int) -> nn.Module:
    """Raises, but only in a worker."""
    if multiprocessing.parent_process() is not None:
        raise RuntimeError("it is broken")
    return small(num_classes)


def deadly(num_classes: int) -> nn.Module:
    """Takes the process down, but only a worker's."""
    if multiprocessing.parent_process() is not None:
        os._exit(3)
    return small(num_classes)


def counting_threads(num_classes: int) -> nn.Module:
    """Writes down how many threads a worker has, in the file that THREADS_FILE names."""
    if multiprocessing.parent_process() is not None:
        Path(os.environ["THREADS_FILE"]).write_text(str(torch.get_num_threads()))
    return small(num_classes)
