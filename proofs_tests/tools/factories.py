"""Models for tests, named `proofs_tests.tools.factories:NAME`; some of them fail."""

import multiprocessing
import os
from pathlib import Path

import torch
from torch import nn


def small(num_classes: int) -> nn.Module:
    """A small network for 8 x 8 images."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_classes))


def broken(num_classes: int) -> nn.Module:
    """Raise an error, but only in a worker process."""
    if multiprocessing.parent_process() is not None:
        raise RuntimeError("it is broken")
    return small(num_classes)


def deadly(num_classes: int) -> nn.Module:
    """End the process, but only a worker process."""
    if multiprocessing.parent_process() is not None:
        os._exit(3)
    return small(num_classes)


def counting_threads(num_classes: int) -> nn.Module:
    """Write the number of a worker's threads to the file named by THREADS_FILE."""
    if multiprocessing.parent_process() is not None:
        Path(os.environ["THREADS_FILE"]).write_text(str(torch.get_num_threads()))
    return small(num_classes)
