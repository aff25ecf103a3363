"""Random pictures, the same on every machine, to train on where no data set is at hand."""

import numpy as np
import torch

from train.batches import Task, task
from train.data import Dataset, Split, known


def random_task(n: int, device: torch.device, dataset: Dataset | None = None) -> Task:
    """n training and n test images of a data set's shape (CIFAR-10's), with random labels."""
    dataset = dataset or known("cifar10")
    rng = np.random.default_rng(0)

    def split() -> Split:
        images = rng.integers(0, 256, (n, *dataset.shape), np.uint8)
        labels = rng.integers(0, dataset.classes, n)
        return Split(torch.from_numpy(images), torch.from_numpy(labels))

    return task((split(), split()), dataset, dataset.shape, device)
