"""Random images, the same on every machine, for training where no data set is on disk."""

import numpy as np
import torch

from train.batches import Task, task
from train.data import Dataset, Split, known


def random_task(n: int, device: torch.device, dataset: Dataset | None = None) -> Task:
    """Make n training and n test images with random labels, in the data set's shape.

    Args:
        n: The number of images of each split.
        device: The device of the images.
        dataset: Gives shape, classes and augmentation; CIFAR-10 by default.
    """
    dataset = dataset or known("cifar10")
    rng = np.random.default_rng(0)

    def split() -> Split:
        images = rng.integers(0, 256, (n, *dataset.shape), np.uint8)
        labels = rng.integers(0, dataset.classes, n)
        return Split(torch.from_numpy(images), torch.from_numpy(labels))

    return task((split(), split()), dataset, dataset.shape, device)
