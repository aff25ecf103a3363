"""Batches made on the training device: images stay uint8 there until they are used."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from train.data import Dataset, Split


class Task(NamedTuple):
    """Images on the training device, and how a network is shown them."""

    train: Split
    test: Split
    dataset: Dataset
    channels: int  # that the network sees; a grey image is repeated


class Plan(NamedTuple):
    """One epoch's order and augmentation, drawn at once: (n,) tensors on the device."""

    order: Tensor
    down: Tensor  # offset of the crop in rows, 0 to 2 * padding
    right: Tensor  # and in columns
    mirror: Tensor  # bool


ORDER, DROPOUT = 6, 7  # what a seed is used for; experiments/run.py has 1 to 5


def seed_of(*keys: int) -> int:
    """One seed from several numbers, such as (seed, use, epoch): same keys, same seed, anywhere."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def task(splits: tuple[Split, Split], dataset: Dataset, shape, device: torch.device) -> Task:
    """Move train and test to `device`, padded with black to the (channels, h, w) of `shape`."""

    def moved(split: Split) -> Split:
        pad = (shape[2] - split.images.shape[3]) // 2
        images = F.pad(split.images, [pad] * 4) if pad else split.images
        return Split(images.to(device), split.labels.to(device))

    return Task(moved(splits[0]), moved(splits[1]), dataset, shape[0])


def plan(n: int, dataset: Dataset, seed: int, epoch: int, device: torch.device) -> Plan:
    """Draw the order and the augmentation of one epoch, from (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(seed_of(seed, ORDER, epoch))
    order = torch.randperm(n, generator=generator)
    offsets = torch.randint(0, 2 * dataset.crop + 1, (2, n), generator=generator)
    mirror = torch.randint(0, 2, (n,), generator=generator).bool() & dataset.flip
    return Plan(*(t.to(device) for t in (order, *offsets, mirror)))


def crop_and_mirror(
    images: Tensor, padding: int, down: Tensor, right: Tensor, mirror: Tensor
) -> Tensor:
    """Pad images (n, C, H, W) with black, cut each at its own offset, mirror some.

    Image i becomes the H x W window at (down[i], right[i]) of its padded self: what
    torchvision's RandomCrop(padding) and RandomHorizontalFlip do one by one.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, [padding] * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (n, C, 2p + 1, 2p + 1, H, W)
    images = windows[torch.arange(len(images), device=images.device), :, down, right]
    return torch.where(mirror[:, None, None, None], images.flip(3), images)


def normalised(images: Tensor, task: Task) -> Tensor:
    """(x / 255 - mean) / std of uint8 images (n, C, H, W), float32 (n, channels, H, W)."""
    mean, std = (
        torch.tensor(v, device=images.device).view(1, -1, 1, 1)
        for v in (task.dataset.mean, task.dataset.std)
    )
    return ((images / 255 - mean) / std).expand(-1, task.channels, -1, -1)


def training_batches(
    task: Task, batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of augmented (inputs, labels), shuffled; the last batch may be smaller."""
    images, labels = task.train
    drawn = plan(len(labels), task.dataset, seed, epoch, labels.device)
    for rows in range(0, len(labels), batch_size):
        order, *crop = (t[rows : rows + batch_size] for t in drawn)
        batch = images[order]
        if task.dataset.crop or task.dataset.flip:
            batch = crop_and_mirror(batch, task.dataset.crop, *crop)
        yield normalised(batch, task), labels[order]


def plain_batches(split: Split, task: Task, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, labels) of the split in their order, without augmentation."""
    for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size)):
        yield normalised(images, task), labels


def subset(split: Split, n: int, seed: int) -> Split:
    """n examples drawn at random without replacement, not balanced (FACTS.md 4.1)."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(split.labels), generator=generator)[:n].to(split.labels.device)
    return Split(split.images[chosen], split.labels[chosen])
