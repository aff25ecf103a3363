"""ImageNet's folder: decoded by workers when needed, and alike with any number of them."""

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as T

from experiments.resolve import resolve
from experiments.runs.run import run
from proofs_tests.tools.runs import CPU, configured, files
from train import data
from train import imagenet as module
from train.batches import plain_batches, share, subset, task, training_batches
from train.fetch import verify
from train.imagenet import Pictures, list_pictures

pytestmark = pytest.mark.usefixtures("one_thread")
PIXELS = 32


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def write(folder: Path, train: int = 5, val: int = 2) -> None:
    """A folder of two classes of noise, images of several sizes, one of them grey."""
    rng = np.random.default_rng(0)
    for half, count in (("train", train), ("val", val)):
        for wnid in ("n02", "n01"):
            (folder / half / wnid).mkdir(parents=True)
            for number in range(count):
                shape = (40 + 9 * number, 50, 3) if number != 1 else (60, 44)
                content = jpeg(rng.integers(0, 256, shape, np.uint8))
                (folder / half / wnid / f"{wnid}_{number}.JPEG").write_bytes(content)


@pytest.fixture
def imagenet(tmp_path, monkeypatch) -> data.Dataset:
    """As registered, but for 14 images of 32 px in two classes."""
    write(tmp_path / "imagenet")
    small = {"classes": 2, "shape": (3, PIXELS, PIXELS), "train_size": 10, "test_size": 4}
    dataset = replace(data.DATASETS["imagenet"], **small)
    monkeypatch.setitem(data.DATASETS, "imagenet", dataset)
    return dataset


def loaded(folder: Path, workers: int = 0):
    dataset = data.DATASETS["imagenet"]
    return task(data.load("imagenet", folder, workers=workers), dataset, dataset.shape, CPU)


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path, imagenet):
    train, test = data.load("imagenet", tmp_path)
    assert train.labels.tolist() == [0] * 5 + [1] * 5 and test.labels.tolist() == [0, 0, 1, 1]
    assert all(f"n0{1 + label}_" in f for f, label in zip(train.images.files, train.labels))
    assert train.images.shape == (10, 3, PIXELS, PIXELS)


def test_test_images_are_scaled_and_cut_from_the_middle(tmp_path, imagenet):
    """The shorter side becomes 256 / 224 of what the network sees, as He et al. have it."""
    test = loaded(tmp_path).test.images
    (found, *_) = test.split(4)
    for file, image in zip(test.files, found):
        whole = T.resize(Image.open(file).convert("RGB"), PIXELS * 256 // 224)
        assert torch.equal(image, T.pil_to_tensor(T.center_crop(whole, PIXELS)))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(tmp_path, imagenet, workers, monkeypatch):
    """Order and augmentation come from (seed, epoch) and the image; no warning on one core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    one, many = (
        list(training_batches(loaded(tmp_path, w), 4, seed=1, epoch=2)) for w in (0, workers)
    )
    assert [size for *_, size in one] == [4, 4, 2]
    for (x, labels, _), (y, others, _) in zip(one, many, strict=True):
        assert torch.equal(x, y) and torch.equal(labels, others)


def test_workers_decode_and_the_training_process_does_not(tmp_path, imagenet, monkeypatch):
    decode, files = module.decoded, tmp_path / "decoded by"
    files.mkdir()

    def noted(file: str) -> Image.Image:
        (files / str(os.getpid())).touch()
        return decode(file)

    monkeypatch.setattr(module, "decoded", noted)
    list(training_batches(loaded(tmp_path, 2), 4, seed=1, epoch=2))
    assert len(list(files.iterdir())) == 2 and not (files / str(os.getpid())).exists()


def test_augmentation_depends_on_seed_epoch_and_image(tmp_path, imagenet):
    images = loaded(tmp_path).train.images
    rows = torch.zeros(2, dtype=torch.int64)  # the same image twice

    def cut(seed: int, epoch: int):
        return torch.cat(list(images.augmented([rows], seed, epoch)))

    first = cut(0, 0)
    assert torch.equal(first[0], first[1]) and torch.equal(first, cut(0, 0))
    assert not torch.equal(first, cut(0, 1)) and not torch.equal(first, cut(1, 0))
    twin = replace(images, files=[images.files[0]] * 2)
    one, other = torch.cat(list(twin.augmented([torch.arange(2)], 0, 0)))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("workers", [0, 1])
def test_decoding_leaves_the_random_state_alone(tmp_path, imagenet, workers):
    """Dropout must not depend on the number of workers."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    list(training_batches(loaded(tmp_path, workers), 4, seed=0, epoch=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_shows_every_image_once(tmp_path, imagenet):
    seen = torch.cat([labels for _, labels, _ in training_batches(loaded(tmp_path), 3, 0, 0)])
    assert sorted(seen.tolist()) == [0] * 5 + [1] * 5


def test_scores_see_images_that_are_not_augmented(tmp_path, imagenet):
    images = loaded(tmp_path)
    chosen = subset(images.train, 4, seed=0)
    found = torch.cat([x for x, _ in plain_batches(chosen, images, 3)])
    again = torch.cat([x for x, _ in plain_batches(chosen, images, 3)])
    assert len(found) == 4 and torch.equal(found, again)


def test_shares_of_two_ranks_are_the_whole(tmp_path, imagenet, monkeypatch):
    """The last batch has one image: the second rank gets none of it."""
    whole = loaded(tmp_path)
    parts = []
    monkeypatch.setattr("train.batches.ranks", lambda: 2)
    for number in (0, 1):
        monkeypatch.setattr("train.batches.rank", lambda number=number: number)
        parts.append((share(whole.test), list(training_batches(whole, 3, seed=0, epoch=0))))
    seen = [file for test, _ in parts for file in test.images.files]
    assert sorted(seen) == sorted(whole.test.images.files)
    sizes = [[len(x) for x, *_ in batches] for _, batches in parts]
    assert sizes == [[2, 2, 2, 1], [1, 1, 1, 0]]
    assert [[size for *_, size in batches] for _, batches in parts] == [[3, 3, 3, 1]] * 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_torn_image_is_named_in_one_sentence(tmp_path, imagenet, workers):
    torn = tmp_path / "imagenet" / "train" / "n02" / "n02_3.JPEG"
    torn.write_bytes(torn.read_bytes()[:200])
    with pytest.raises(ValueError) as error:
        list(training_batches(loaded(tmp_path, workers), 4, seed=0, epoch=0))
    assert str(error.value) == f"{torn} is missing, torn or no image"


def test_an_empty_class_and_a_wrong_count_are_named(tmp_path, imagenet):
    (tmp_path / "imagenet" / "val" / "n03").mkdir()
    with pytest.raises(ValueError, match="n03"):
        data.load("imagenet", tmp_path)
    (tmp_path / "imagenet" / "val" / "n03").rmdir()
    (tmp_path / "imagenet" / "train" / "n01" / "n01_0.JPEG").unlink()
    with pytest.raises(ValueError, match=r"shape \(9, 3, 32, 32\); \(10, 3, 32, 32\)"):
        data.load("imagenet", tmp_path)
    with pytest.raises(ValueError, match="nowhere"):
        list_pictures(tmp_path / "nowhere", PIXELS, 0)


def test_verify_counts_without_decoding(tmp_path, imagenet, monkeypatch):
    monkeypatch.setattr(Pictures, "_decoded", lambda *_: pytest.fail("images were decoded"))
    line = verify("imagenet", tmp_path)
    assert "10 + 4 images of 3 x 32 x 32" in line and "5 + 2 of each of 2 classes" in line


def test_a_run_on_imagenet_is_the_same_with_workers(tmp_path, imagenet):
    """SNIP reads it, VGG trains on it; `--workers` is no part of the run's identity."""
    given = {"dataset": "imagenet", "data_dir": str(tmp_path), "model": "vgg11", "width": 1 / 16}
    given |= {"pruner": "snip", "steps": None, "batch_size": 4}
    paths = [
        run(configured(tmp_path / str(workers), **given, workers=workers)) for workers in (0, 2)
    ]
    one, two = (files(path.parent) for path in paths)
    assert paths[0].parent.name == paths[1].parent.name and one == two
    assert "workers" not in json.loads(paths[0].read_text())["config"]


@pytest.mark.parametrize(
    "given",
    [
        {"workers": 2},
        {"dataset": "imagenet", "workers": 2, "epochs": 0, "model": "vgg11"},
        {"dataset": "imagenet", "workers": -1, "model": "vgg11"},
    ],
)
def test_workers_that_would_do_nothing_are_refused(given):
    with pytest.raises(ValueError, match="--workers"):
        resolve({"device": "cpu", **given})
