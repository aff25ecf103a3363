"""Batches: augmentation against slicing one image at a time, and where its randomness comes from.

`==` throughout: bytes are moved, and what is computed is computed in the same order.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import functional as tv

from train import batches
from train.data import DATASETS, Dataset, Split

CPU = torch.device("cpu")
seeds = st.integers(0, 2**40)


def split(n: int, shape: tuple[int, int, int] = (3, 6, 6)) -> Split:
    """n random images; the label is the number of the image, which its first pixel shows."""
    images = np.random.default_rng(n).integers(0, 256, (n, *shape), np.uint8)
    images[:, 0, 0, 0] = range(n)
    return Split(torch.from_numpy(images), torch.arange(n))


def dataset(**changes) -> Dataset:
    return replace(DATASETS["cifar10"], mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), **changes)


def make_task(n: int, shape=(3, 6, 6), **changes) -> batches.Task:
    return batches.task((split(n, shape), split(7, shape)), dataset(**changes), shape, CPU)


def epoch_of(task, batch_size=4, seed=0, epoch=0) -> tuple[list[Tensor], list[Tensor]]:
    inputs, labels, *_ = zip(*batches.training_batches(task, batch_size, seed, epoch))
    return list(inputs), list(labels)


# ---- augmentation ---------------------------------------------------------------------------


def sliced(image: np.ndarray, padding: int, down: int, right: int, mirror: bool) -> np.ndarray:
    """One image (C, H, W), literally: pad with black, cut at the offset, mirror."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    window = padded[:, down : down + height, right : right + width]
    return window[:, :, ::-1] if mirror else window


def every_case(padding: int) -> list[tuple[int, int, bool]]:
    offsets = range(2 * padding + 1)
    return [(d, r, m) for d in offsets for r in offsets for m in (False, True)]


@pytest.mark.parametrize("padding", [0, 1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 5, 9), (2, 3, 1)])
def test_a_batch_is_cropped_and_mirrored_as_its_images_one_by_one(padding, shape):
    """For every offset and both mirrors, also where the padding is wider than the image."""
    down, right, mirror = map(torch.tensor, zip(*every_case(padding)))
    images = split(256, shape).images[torch.arange(len(down)) % 256]
    made = batches.crop_and_mirror(images, padding, down, right, mirror)
    assert made.dtype == torch.uint8
    for image, one, *case in zip(images, made, down, right, mirror, strict=True):
        assert np.array_equal(one.numpy(), sliced(image.numpy(), padding, *case))


@given(st.integers(0, 255), st.integers(0, 8), st.integers(0, 8), st.booleans())
def test_it_is_what_torchvision_does(image, down, right, mirror):
    """RandomCrop(32, padding=4) and RandomHorizontalFlip, with the same draw."""
    images = split(256, (3, 32, 32)).images[image : image + 1]
    expected = tv.crop(tv.pad(images, 4), down, right, 32, 32)
    expected = tv.hflip(expected) if mirror else expected
    case = (torch.tensor([value]) for value in (down, right, mirror))
    assert torch.equal(batches.crop_and_mirror(images, 4, *case), expected)


@pytest.mark.parametrize("crop, flip", [(0, False), (0, True), (2, False), (4, True)])
def test_a_training_batch_is_its_plan(crop, flip):
    """Each input is the planned image, cut and mirrored as planned, then normalised."""
    task = make_task(30, crop=crop, flip=flip)
    inputs, labels = epoch_of(task, seed=5, epoch=2)
    drawn = batches.plan(30, task.dataset, 5, 2, CPU)
    assert torch.equal(torch.cat(labels), drawn.order)
    for one, row, *case in zip(torch.cat(inputs), *drawn, strict=True):
        image = sliced(task.train.images[row].numpy(), crop, *case)
        expected = batches.normalised(torch.from_numpy(image.copy())[None], task)[0]
        assert torch.equal(one, expected)


def test_without_augmentation_every_image_is_seen_once_as_it_is():
    task = make_task(30, crop=0, flip=False)
    inputs, labels = epoch_of(task)
    assert [len(part) for part in labels] == [4] * 7 + [2]
    order = torch.cat(labels)
    assert sorted(order.tolist()) == list(range(30)) and order.tolist() != list(range(30))
    assert torch.equal(torch.cat(inputs), batches.normalised(task.train.images[order], task))


@given(seeds, st.integers(0, 200), st.integers(1, 40))
def test_what_is_drawn_does_not_depend_on_the_batch_size(seed, epoch, batch_size):
    task = make_task(30, crop=2, flip=True)
    whole, parts = (torch.cat(epoch_of(task, n, seed, epoch)[0]) for n in (30, batch_size))
    assert torch.equal(whole, parts)


# ---- randomness -----------------------------------------------------------------------------


@given(seeds, st.integers(0, 200))
def test_an_epoch_is_drawn_from_seed_and_epoch_alone(seed, epoch):
    """Not from torch's own generator, nor is that one touched."""
    torch.manual_seed(seed)
    first = batches.plan(50, dataset(crop=4, flip=True), seed, epoch, CPU)
    untouched = torch.rand(1)
    second = batches.plan(50, dataset(crop=4, flip=True), seed, epoch, CPU)
    torch.manual_seed(seed)
    assert all(map(torch.equal, first, second)) and torch.equal(torch.rand(1), untouched)


@given(seeds, st.integers(0, 200))
def test_another_seed_or_epoch_is_another_draw(seed, epoch):
    """Of the order, of both offsets and of the mirrors, each by itself."""
    kind = dataset(crop=4, flip=True)
    here = batches.plan(200, kind, seed, epoch, CPU)
    for other in [(seed + 1, epoch), (seed, epoch + 1), (epoch, seed + 1000)]:
        there = batches.plan(200, kind, *other, CPU)
        assert not any(map(torch.equal, here, there))
    assert not torch.equal(here.down, here.right)


def test_every_offset_and_both_mirrors_are_equally_likely():
    """162 cases, 100 draws expected of each: none under 50 (5 standard deviations) or over 150."""
    drawn = batches.plan(16_200, dataset(crop=4, flip=True), 0, 0, CPU)
    seen = Counter(zip(*(part.tolist() for part in drawn[1:])))
    assert seen.keys() == set(every_case(4))
    assert 50 < min(seen.values()) and max(seen.values()) < 150


@pytest.mark.parametrize("crop, flip", [(0, True), (3, False)])
def test_what_a_data_set_does_not_ask_for_is_not_drawn(crop, flip):
    drawn = batches.plan(500, dataset(crop=crop, flip=flip), 0, 0, CPU)
    assert drawn.mirror.any() == flip
    assert drawn.down.max() == drawn.right.max() == 2 * crop


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=3))
def test_seeds_for_torch_come_from_numbers(keys):
    """Any seed of the command line, also beyond 64 bits, gives one that torch takes."""
    seed = batches.seed_of(2**70, *keys)
    assert 0 <= seed < 2**63 and seed == batches.seed_of(2**70, *keys)
    assert seed != batches.seed_of(2**70, *keys, 1)
    torch.Generator().manual_seed(seed)


# ---- what a network is shown ----------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_normalised_as_torchvision_does(channels):
    """(x / 255 - mean) / std in float32, per channel."""
    shape = (channels, 6, 6)
    kind = dataset() if channels == 3 else replace(dataset(), mean=(0.3,), std=(0.35,))
    task = batches.task((split(20, shape), split(7, shape)), kind, shape, CPU)
    given = batches.normalised(task.train.images, task)
    for one, image in zip(given, task.train.images, strict=True):
        as_float = tv.to_tensor(image.permute(1, 2, 0).numpy())
        assert torch.equal(one, tv.normalize(as_float, kind.mean, kind.std))


def test_a_grey_image_is_shown_three_times_where_three_channels_are_asked_for():
    kind = replace(DATASETS["mnist"], crop=0)
    task = batches.task((split(9, (1, 28, 28)), split(7, (1, 28, 28))), kind, (3, 28, 28), CPU)
    (inputs,), _ = epoch_of(task, batch_size=9)
    assert inputs.shape == (9, 3, 28, 28)
    assert torch.equal(inputs[:, 0], inputs[:, 1]) and torch.equal(inputs[:, 0], inputs[:, 2])


def test_28_px_are_padded_with_black_to_32():
    """Before normalisation, as the crop pads; both halves, and the bytes stay bytes."""
    plain, padded = (
        batches.task((split(9, (1, 28, 28)), split(7, (1, 28, 28))), DATASETS["mnist"], shape, CPU)
        for shape in ((1, 28, 28), (1, 32, 32))
    )
    for small, large in zip(plain[:2], padded[:2]):
        assert large.images.dtype == torch.uint8 and large.images.shape[1:] == (1, 32, 32)
        assert torch.equal(large.images[:, :, 2:-2, 2:-2], small.images)
        assert large.images.sum() == small.images.sum()
        assert torch.equal(large.labels, small.labels)


@pytest.mark.parametrize("size", [1, 4, 30, 100])
def test_plain_batches_keep_the_order_and_change_nothing(size):
    """Of evaluation and of scores that read data, though the data set asks for augmentation."""
    task = make_task(30, crop=4, flip=True)
    inputs, labels = zip(*batches.plain_batches(task.train, task, size))
    assert torch.equal(torch.cat(labels), task.train.labels)
    assert torch.equal(torch.cat(inputs), batches.normalised(task.train.images, task))
    assert [len(part) for part in labels] == [size] * (30 // size) + [30 % size] * (30 % size > 0)


@given(seeds, st.integers(1, 30))
def test_a_subset_is_drawn_from_its_seed_without_replacement(seed, n):
    whole = split(30)
    chosen = batches.subset(whole, n, seed)
    assert len(set(chosen.labels.tolist())) == n
    assert torch.equal(chosen.images, whole.images[chosen.labels])
    assert torch.equal(batches.subset(whole, n, seed).labels, chosen.labels)


def test_subsets_of_two_seeds_differ_and_every_image_can_be_drawn():
    drawn = [batches.subset(split(30), 10, seed).labels.tolist() for seed in range(40)]
    assert drawn[0] != drawn[1] and set().union(*drawn) == set(range(30))
