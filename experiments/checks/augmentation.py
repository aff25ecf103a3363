"""Check the augmentation of whole batches against slicing one image after the other."""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.checks.outcome import expect
from experiments.checks.pictures import random_task
from train.batches import crop_and_mirror, plan, training_batches
from train.data import known


def augmentation(device: torch.device) -> str:
    """Compare every crop offset with and without mirroring, and the batches of one epoch."""
    count = sum(_every_crop(padding, device) for padding in (2, 4))
    _batches_of_an_epoch(device)
    return f"{count} crops, and the batches of an epoch"


def sliced(image: NDArray, padding: int, down: int, right: int, mirror: bool) -> NDArray:
    """Pad one image (C, H, W) with black, crop it, then mirror it."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    cut = padded[:, down : down + image.shape[1], right : right + image.shape[2]]
    return cut[:, :, ::-1] if mirror else cut


def _every_crop(padding: int, device: torch.device) -> int:
    """Compare one image for each pair of offsets and each mirroring; return their number."""
    offsets = range(2 * padding + 1)
    crops = list(itertools.product(offsets, offsets, (False, True)))
    images = np.random.default_rng(0).integers(0, 256, (len(crops), 3, 32, 32), np.uint8)
    down, right, mirror = (
        torch.tensor(column, device=device) for column in zip(*crops, strict=True)
    )
    found = crop_and_mirror(torch.from_numpy(images).to(device), padding, down, right, mirror)
    for image, crop, one in zip(images, crops, found.cpu().numpy(), strict=True):
        expect(np.array_equal(one, sliced(image, padding, *crop)), f"crop {crop} of {padding}")
    return len(crops)


def _batches_of_an_epoch(device: torch.device) -> None:
    """Expect each image once, cropped and mirrored as planned, then (x / 255 - mean) / std."""
    dataset = known("cifar10")
    data = random_task(40, device)
    images = data.train.images.cpu().numpy()
    mean = np.reshape(np.float32(dataset.mean), (3, 1, 1))
    std = np.reshape(np.float32(dataset.std), (3, 1, 1))
    drawn = plan(40, dataset, seed=1, epoch=2, device=torch.device("cpu"))
    batches = list(training_batches(data, 16, seed=1, epoch=2))
    expect([size for *_, size in batches] == [16, 16, 8], "batch sizes are not 16, 16, 8")
    expect(sorted(drawn.order.tolist()) == list(range(40)), "not every image is used once")
    inputs = torch.cat([batch for batch, *_ in batches]).cpu().numpy()
    labels = torch.cat([batch for _, batch, _ in batches])
    expect(torch.equal(labels, data.train.labels[drawn.order.to(device)]), "labels are shuffled")
    columns = (column.tolist() for column in drawn)
    for row, *crop, one in zip(*columns, inputs, strict=True):
        wanted = (sliced(images[row], dataset.crop, *crop) / np.float32(255) - mean) / std
        expect(np.allclose(one, wanted, rtol=1e-5, atol=1e-5), f"image {row} of a batch is wrong")
