"""The datasets: a description of each, the folders it may be in, and its loading.

A dataset is held in memory as bytes; the training loop normalises it as
`(images / 255 - mean) / std`, and pads, crops and mirrors it according to `crop` and `flip`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.imagenet import Pictures, list_pictures
from train.near import near
from train.readers import (
    Arrays,
    Pixels,
    Report,
    check_labels,
    read_cifar,
    read_idx,
    read_tiny_imagenet,
)

DIGITS_SCALE = 15  # pixels 0 to 16 become 0 to 240


class Split(NamedTuple):
    """The training or the test half of a dataset."""

    images: Tensor | Pictures  # uint8 (n, C, H, W)
    labels: Tensor  # int64 (n,)


@dataclass(frozen=True)
class Dataset:
    """A description of a dataset, which need not be on disk."""

    name: str
    classes: int
    shape: tuple[int, int, int]  # (C, H, W)
    train_size: int
    test_size: int
    mean: tuple[float, ...]  # per channel, of images / 255
    std: tuple[float, ...]
    read: Callable[[Path, "Dataset", bool, Report | None], Arrays] | None
    folders: tuple[str, ...]  # searched in this order, relative to the data directory
    files: tuple[str, ...]  # that the folder must have; FILE.gz may replace FILE
    crop: int = 0  # padding of the random crop; 0 for none
    flip: bool = False  # True if training mirrors half of the images
    balanced: bool = True  # True if all classes have equally many images
    provide: str = ""  # instructions, for a dataset that cannot be downloaded
    counts: Callable[[Pixels], NDArray] | None = None  # `value_counts` of all training images, kept

    def size(self, train: bool) -> int:
        """The number of training or of test images."""
        return self.train_size if train else self.test_size


class MissingData(FileNotFoundError):
    """A dataset is not on disk.

    Attributes:
        remedy: The command that downloads it, without the name of the program; "" if there is none.
    """

    def __init__(self, sentence: str, remedy: str = ""):
        super().__init__(sentence)
        self.remedy = remedy


def known(name: str) -> Dataset:
    """The description of the dataset `name`: a key of DATASETS, or the user's own.

    Raises:
        ValueError: If there is none; the message lists all names.
    """
    if ":" in name:
        from train.own_data import described  # which needs the classes above

        return described(name)
    if name not in DATASETS:
        raise ValueError(
            f"there is no dataset {name!r}; known are {', '.join(DATASETS)}, folder:PATH, "
            f"package.module:function{near(name, DATASETS, functions=True)}"
        )
    return DATASETS[name]


def locate(name: str, data_dir: Path) -> Path:
    """The first of the dataset's folders that has all its files, which are not opened.

    Raises:
        MissingData: If none has; the message names the files and the folders.
    """
    dataset = known(name)
    places = []
    for folder in (Path(data_dir) / folder for folder in dataset.folders):
        missing = [file for file in dataset.files if not _file(folder, file).exists()]
        if not missing:
            return folder
        lacks = f" (which lacks {', '.join(missing)})" if len(missing) < len(dataset.files) else ""
        places.append(f"{folder}{lacks}")
    sentence = f"{name} ({', '.join(dataset.files)}) is not in {' nor in '.join(places)}"
    if dataset.provide:
        raise MissingData(f"{sentence}; {dataset.provide}")
    raise MissingData(sentence, f"data fetch {name} --data-dir {data_dir}")


def load(
    name: str, data_dir: Path, report: Report | None = None, workers: int = 0
) -> tuple[Split, Split]:
    """Read all training and all test images; of imagenet, only list them.

    Args:
        name: A key of DATASETS.
        data_dir: The folder that holds the datasets.
        report: Called now and then with (done, total) while images are decoded.
        workers: Processes that decode imagenet's images later, batch by batch.

    Returns:
        The two halves, of the sizes and the shape in DATASETS, labels in 0 to classes - 1.

    Raises:
        MissingData: If the dataset is not there.
        ValueError: If it is torn or corrupt.
    """
    dataset = known(name)
    folder = locate(name, data_dir)
    if dataset.read is None:
        return _listed(folder / "train", dataset, True, workers), _listed(
            folder / "val", dataset, False, workers
        )
    return _half(folder, dataset, True, report), _half(folder, dataset, False, report)


def _half(folder: Path, dataset: Dataset, train: bool, report: Report | None) -> Split:
    images, labels = dataset.read(folder, dataset, train, report)
    _check(folder, dataset, train, images, labels)
    return Split(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def _listed(folder: Path, dataset: Dataset, train: bool, workers: int) -> Split:
    images, labels = list_pictures(folder, dataset.shape[1], workers)
    _check(folder, dataset, train, images, labels)
    return Split(images, torch.from_numpy(labels))


def _check(folder: Path, dataset: Dataset, train: bool, images: Pixels | Pictures, labels) -> None:
    shape = (dataset.size(train), *dataset.shape)
    if images.shape != shape or labels.shape != shape[:1]:
        raise ValueError(f"{folder} has images of shape {images.shape}; {shape} is expected")
    check_labels(folder, labels, dataset.classes)


def _file(folder: Path, name: str) -> Path:
    """The file or, where only that exists, the gzipped one."""
    packed = folder / f"{name}.gz"
    return packed if packed.exists() and not (folder / name).exists() else folder / name


def stratified(labels: NDArray[np.integer], size: int, seed: int) -> NDArray[np.bool_]:
    """Draw `size` positions at random, from each class its share (largest remainders).

    Returns:
        True at the positions drawn, shaped like `labels`.
    """
    rng = np.random.default_rng(seed)
    take, remainder = np.divmod(np.bincount(labels) * size, len(labels))
    take[np.argsort(-remainder, kind="stable")[: size - take.sum()]] += 1
    drawn = np.zeros(len(labels), bool)
    for label, count in enumerate(take):
        drawn[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
    return drawn


def _digits(folder: Path, dataset: Dataset, train: bool, _: Report | None) -> Arrays:
    with np.load(folder / "digits.npz") as arrays:
        images, labels = arrays["images"] * np.uint8(DIGITS_SCALE), arrays["labels"]
    half = stratified(labels, dataset.test_size, seed=0) != train
    return images[half], labels[half]


def _idx(folder: Path, dataset: Dataset, train: bool, _: Report | None) -> Arrays:
    prefix, size = "train" if train else "t10k", dataset.size(train)
    labels_file = _file(folder, f"{prefix}-labels-idx1-ubyte")
    labels = read_idx(labels_file, (size,))
    check_labels(labels_file, labels, dataset.classes)
    images = _file(folder, f"{prefix}-images-idx3-ubyte")
    return read_idx(images, (size, *dataset.shape[1:]))[:, None], labels


def _cifar(
    label_bytes: int, folder: Path, dataset: Dataset, train: bool, _: Report | None
) -> Arrays:
    files = [folder / file for file in dataset.files if train != file.startswith("test")]
    count = dataset.size(train) // len(files)
    parts = [read_cifar(file, count, dataset.classes, label_bytes) for file in files]
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    return images, labels


def _tiny_imagenet(folder: Path, dataset: Dataset, train: bool, report: Report | None) -> Arrays:
    split = "train" if train else "val"
    return read_tiny_imagenet(folder, split, dataset.size(train), dataset.shape, report)


_HERE = str(Path(__file__).resolve().parent)
_DEBIAN = "/usr/share/datasets/fashion-mnist"  # package dataset-fashion-mnist
_IDX = tuple(f"{h}-{k}-ubyte" for h in ("train", "t10k") for k in ("images-idx3", "labels-idx1"))
_CIFAR10 = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_TINY = ("wnids.txt", "train", "val/val_annotations.txt", "val/images")
_PROVIDE = "register at https://image-net.org and unpack it as train/WNID/*.JPEG, val/WNID/*.JPEG"

# fmt: off
DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        "digits", 10, (1, 8, 8), 1_437, 360, (0.2876,), (0.3540,),
        _digits, (_HERE,), ("digits.npz",), balanced=False),
    "mnist": Dataset(
        "mnist", 10, (1, 28, 28), 60_000, 10_000, (0.1307,), (0.3081,),
        _idx, ("mnist", "MNIST/raw"), _IDX, crop=2, balanced=False),
    "fashion-mnist": Dataset(
        "fashion-mnist", 10, (1, 28, 28), 60_000, 10_000, (0.2860,), (0.3530,),
        _idx, ("fashion-mnist", "FashionMNIST/raw", _DEBIAN), _IDX, crop=2, flip=True),
    "cifar10": Dataset(
        "cifar10", 10, (3, 32, 32), 50_000, 10_000, (0.491, 0.482, 0.447), (0.247, 0.243, 0.262),
        partial(_cifar, 1), ("cifar-10-batches-bin",), _CIFAR10, crop=4, flip=True),
    "cifar100": Dataset(
        "cifar100", 100, (3, 32, 32), 50_000, 10_000, (0.507, 0.487, 0.441), (0.267, 0.256, 0.276),
        partial(_cifar, 2), ("cifar-100-binary",), ("train.bin", "test.bin"), crop=4, flip=True),
    "tiny-imagenet": Dataset(
        "tiny-imagenet", 200, (3, 64, 64), 100_000, 10_000,
        (0.480, 0.448, 0.397), (0.276, 0.269, 0.282),
        _tiny_imagenet, ("tiny-imagenet-200",), _TINY, crop=4, flip=True),
    "imagenet": Dataset(
        "imagenet", 1000, (3, 224, 224), 1_281_167, 50_000,
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
        None, ("imagenet",), ("train", "val"), flip=True, balanced=False, provide=_PROVIDE),
}
# fmt: on
