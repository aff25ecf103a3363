"""A user's own images: a folder of pictures, or a function that returns arrays.

`folder:PATH` holds train/CLASS/*.png (or .jpg and others) and test/CLASS/* or val/CLASS/*; or
CLASS/*, of which a fixed fifth of each class is for testing. `folder:PATH@64` scales each image.
`package.module:function` returns (train images, train labels, test images, test labels).
The decoded images of a folder, and the counts for their mean and std, are kept beside it
(train/cache.py).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.batches import value_counts
from train.cache import kept
from train.data import Dataset, stratified
from train.foreign import imported
from train.readers import Arrays, Pixels, Report, decode_all, decoded, refuse_narrow, size_of

FOLDER = "folder:"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
PART = 5  # one in so many images is for testing where the folder has no test/
CROP = 8  # the random crop moves by up to a part of this of the image's height
GREY = ("1", "L", "I", "I;16", "F")  # modes of PIL with one channel
HALVES = "train images", "train labels", "test images", "test labels"


class Listing(NamedTuple):
    """The files of one half, and the number of the class of each."""

    files: list[Path]
    labels: NDArray[np.int64]

    def at(self, chosen: NDArray[np.bool_]) -> "Listing":
        """The rows where `chosen` is True."""
        kept = [file for file, is_kept in zip(self.files, chosen, strict=True) if is_kept]
        return Listing(kept, self.labels[chosen])


@cache
def described(name: str) -> Dataset:
    """Describe the images that `folder:PATH` or `package.module:function` names.

    Its mean and std are empty: they are measured on the training images when these are read.

    Raises:
        ValueError: If they cannot be used; the message names the folder, file or array.
    """
    if name.startswith(FOLDER):
        return _of_folder(name)
    return _of_function(name)


def _of_folder(name: str) -> Dataset:
    path, _, pixels = name.removeprefix(FOLDER).partition("@")
    if pixels and not (pixels.isdecimal() and int(pixels)):
        raise ValueError(f"dataset {name!r} must end in a number of pixels, as @64 does")
    root = Path(path).absolute()
    classes, train, test = _listed(root)
    shape = _shape(train.files[0], int(pixels or 0))
    decode = partial(_picture, shape=shape, scale=bool(pixels))
    size = f"@{pixels}" if pixels else ""

    def read(_: Path, dataset: Dataset, is_train: bool, report: Report | None) -> Arrays:
        part, half = ("train", train) if is_train else ("test", test)
        make = partial(decode_all, half.files, shape, decode, report)
        return kept(root, part + size, half.files, (len(half.files), *shape), make), half.labels

    def counts(images: Pixels) -> NDArray[np.int64]:
        if len(images) != len(train.files):  # a part, whose counts are not those to keep
            return value_counts(images)
        make, of_values = partial(value_counts, images), (shape[0], 256)
        return kept(root, f"train{size}-counts", train.files, of_values, make, np.int64)

    sizes = len(train.files), len(test.files)
    return replace(_dataset(name, root, classes, shape, sizes, read), counts=counts)


def _dataset(
    name: str, root: Path, classes: int, shape: tuple, sizes: tuple[int, int], read: Callable
) -> Dataset:
    crop = shape[1] // CROP
    return Dataset(
        name, classes, shape, *sizes, (), (), read, (str(root),), (), crop=crop, balanced=False
    )


def _listed(root: Path) -> tuple[int, Listing, Listing]:
    """Return the number of classes and the two halves of a folder."""
    if not root.is_dir():
        raise ValueError(f"{root} is no folder of images")
    if not (root / "train").is_dir():
        names = _classes(root)
        every = _files(root, names)
        is_test = stratified(every.labels, len(every.files) // PART, seed=0)
        return len(names), every.at(~is_test), every.at(is_test)
    halves = [root / half for half in ("test", "val") if (root / half).is_dir()]
    if not halves:
        raise ValueError(f"{root} has train, and neither test nor val")
    names = _classes(root / "train")
    if strange := set(_classes(halves[0])) - set(names):
        raise ValueError(f"{halves[0]} has the class {min(strange)!r}, which train does not have")
    return len(names), _files(root / "train", names), _files(halves[0], names)


def _classes(folder: Path) -> list[str]:
    """Return the names of the classes in order, two or more."""
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    if len(names) < 2:
        raise ValueError(f"{folder} has {len(names)} folders; one for each class is expected")
    return names


def _files(folder: Path, classes: list[str]) -> Listing:
    """List the pictures of each class, ordered by class and name."""
    of_class = [_pictures(folder / name) for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in of_class])
    files = [file for files in of_class for file in files]
    if not files:
        raise ValueError(f"{folder} has no image in the folders of its classes")
    return Listing(files, labels)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def _shape(file: Path, pixels: int) -> tuple[int, int, int]:
    """Return (channels, height, width) of the first image, or as it will be scaled."""
    width, height = size_of(file)
    with Image.open(file) as image:
        channels = 1 if image.mode in GREY else 3
    return (channels, pixels, pixels) if pixels else (channels, height, width)


def _picture(file: Path, shape: tuple[int, int, int], scale: bool) -> Pixels:
    """Decode an image in the colours of the first one; `scale` cuts out the middle."""
    channels, height, width = shape
    if scale:
        refuse_narrow(file)
    elif (found := size_of(file)) != (width, height):
        raise ValueError(
            f"{file} has {found[0]} x {found[1]} pixels, the first image {width} x {height}; "
            f"folder:PATH@{min(width, height)} scales all to one size"
        )
    image = decoded(file, "L" if channels == 1 else "RGB")
    if scale:
        image = _middle(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _middle(image: Image.Image) -> Image.Image:
    """Cut the largest square out of the middle."""
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _of_function(name: str) -> Dataset:
    arrays = _called(name)
    train, train_labels, test, test_labels = arrays
    shape = train.shape[1:]
    _check_half(name, train, train_labels, shape)
    _check_half(name, test, test_labels, shape)
    classes = int(train_labels.max()) + 1
    if classes < 2 or len(np.unique(train_labels)) < classes:
        raise ValueError(f"dataset {name!r} must have training images of each class 0, 1, ...")
    read = partial(_part, arrays)
    return _dataset(name, Path.cwd(), classes, shape, (len(train), len(test)), read)


def _part(
    arrays: tuple[NDArray, ...], _: Path, dataset: Dataset, train: bool, report: Report | None
) -> Arrays:
    images, labels = arrays[:2] if train else arrays[2:]
    return images.copy(), labels.astype(np.int64)


def _called(name: str) -> tuple[NDArray, ...]:
    """Call the user's function; grey images (n, H, W) get a channel."""
    function = imported("dataset", name)
    try:
        images, labels, test_images, test_labels = map(np.asarray, function())
    except Exception as error:  # the user's function may fail in any way
        expected = ", ".join(HALVES)
        raise ValueError(f"dataset {name!r} must return {expected}: {error}") from error
    grey = [array[:, None] if array.ndim == 3 else array for array in (images, test_images)]
    return grey[0], labels, grey[1], test_labels


def _check_half(name: str, images: NDArray, labels: NDArray, shape: tuple[int, ...]) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape or not len(images):
        raise ValueError(
            f"dataset {name!r} has images of {images.dtype} and shape {images.shape}; uint8 of "
            "shape (n, C, H, W) or (n, H, W), alike in train and test, is expected"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
        raise ValueError(
            f"dataset {name!r} has labels of {labels.dtype} and shape {labels.shape}; integers "
            f"from 0 of shape {images.shape[:1]} are expected"
        )
