"""Batches, made on the training device, where the images stay uint8 until they are used."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from train.data import Dataset, Split
from train.imagenet import Pictures
from train.ranks import rank, ranks
from train.seeds import ORDER, seed_of


class Task(NamedTuple):
    """Images on the training device, and their normalisation."""

    train: Split
    test: Split
    dataset: Dataset
    channels: int  # of the network's input; a grey image is repeated
    mean: Tensor  # (C, 1, 1), of images / 255
    std: Tensor


class Plan(NamedTuple):
    """One epoch's order and augmentation, drawn at once: (n,) tensors on the device."""

    order: Tensor
    down: Tensor  # offset of the crop in rows, 0 to 2 * padding
    right: Tensor  # and in columns
    mirror: Tensor  # bool


def task(splits: tuple[Split, Split], dataset: Dataset, shape, device: torch.device) -> Task:
    """Move train and test to `device`, padded with black to the (channels, h, w) of `shape`."""

    def moved(split: Split) -> Split:
        pad = (shape[2] - split.images.shape[3]) // 2
        images = F.pad(split.images, [pad] * 4) if pad else split.images
        return Split(images.to(device), split.labels.to(device))

    dataset = measured(dataset, splits[0].images)
    mean, std = (torch.tensor(m, device=device).view(-1, 1, 1) for m in (dataset.mean, dataset.std))
    return Task(moved(splits[0]), moved(splits[1]), dataset, shape[0], mean, std)


def measured(dataset: Dataset, images: Tensor | Pictures) -> Dataset:
    """The description with a mean and a std for each channel, of images / 255.

    Where it has none, they are those of its training images (n, C, H, W), std at least 1 / 255.
    """
    if dataset.mean:
        return dataset
    counts = torch.from_numpy((dataset.counts or value_counts)(images.numpy()))
    share, value = counts / counts.sum(1, keepdim=True), torch.arange(256) / 255
    mean = share @ value
    std = (share * (value - mean[:, None]) ** 2).sum(1).sqrt().clamp(min=1 / 255)
    return replace(dataset, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def value_counts(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of pixels of each value in each channel, (C, 256), of images (n, C, H, W)."""
    of_channels = torch.from_numpy(images).transpose(0, 1).flatten(1)
    return torch.stack([torch.bincount(pixels, minlength=256) for pixels in of_channels]).numpy()


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
    """Pad images (n, C, H, W) with black, crop each at its own offset, mirror some.

    Image i becomes the H x W window at (down[i], right[i]) of the padded image, as by
    torchvision's RandomCrop(padding) and RandomHorizontalFlip, which take one image at a time.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, [padding] * 4)
    both = torch.stack([padded, padded.flip(3)], 1)  # (n, 2, C, H + 2p, W + 2p)
    windows = both.unfold(3, height, 1).unfold(4, width, 1)
    right = torch.where(mirror, 2 * padding - right, right)  # counted from the mirrored side
    rows = torch.arange(len(images), device=images.device)
    return windows[rows, mirror.long(), :, down, right]


def normalised(images: Tensor, task: Task) -> Tensor:
    """(x / 255 - mean) / std of uint8 images (n, C, H, W), float32 (n, channels, H, W)."""
    white = torch.full((), 255.0, device=images.device)  # for a number, CUDA multiplies by 1 / 255
    return ((images / white - task.mean) / task.std).expand(-1, task.channels, -1, -1)


def training_batches(
    task: Task, batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield one epoch of shuffled, augmented (inputs, labels, size of the batch).

    With several ranks the inputs are this rank's share of the batch, which may be empty, and
    the size is that of the whole batch. The last batch may be smaller.
    """
    images, labels = task.train
    streamed = isinstance(images, Pictures)
    drawn_on = torch.device("cpu") if streamed else labels.device
    drawn = plan(len(labels), task.dataset, seed, epoch, drawn_on)
    shares = [Plan(*parts) for parts in zip(*(_shares(t, batch_size) for t in drawn), strict=True)]
    if streamed:
        made = images.augmented((part.order for part in shares), seed, epoch)
    else:
        made = (_augmented(images, task.dataset, part) for part in shares)
    whole = labels[drawn.order.to(labels.device)].split(batch_size)
    for batch, targets in zip(made, whole, strict=True):
        yield normalised(batch, task), _share(targets), len(targets)


def _share(x: Tensor | Pictures) -> Tensor | Pictures:
    """This rank's rows of a batch (n, ...)."""
    return x[rank() :: ranks()]


def _shares(x: Tensor, batch_size: int) -> list[Tensor]:
    return [_share(batch) for batch in x.split(batch_size)]


def _augmented(images: Tensor, dataset: Dataset, part: Plan) -> Tensor:
    order, *crop = part
    batch = images.index_select(0, order)
    return crop_and_mirror(batch, dataset.crop, *crop) if dataset.crop or dataset.flip else batch


def share(split: Split) -> Split:
    """This rank's examples of a split."""
    return Split(_share(split.images), _share(split.labels))


def plain_batches(split: Split, task: Task, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs, labels) of the split in their order, without augmentation."""
    images, labels = split.images.split(batch_size), split.labels.split(batch_size)
    for batch, targets in zip(images, labels, strict=True):
        yield normalised(batch, task), targets


def subset(split: Split, n: int, seed: int) -> Split:
    """n examples drawn at random without replacement, not balanced over the classes."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(split.labels), generator=generator)[:n].to(split.labels.device)
    return Split(split.images[chosen], split.labels[chosen])
