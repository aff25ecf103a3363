"""Readers of the file formats in which the datasets are published.

Each is a function of a path and the expected counts and shapes, and returns NumPy arrays. A file
that is torn, too long or of another format is a ValueError of one sentence with its path.
"""

import gzip
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.cache import Shape, kept

Pixels = NDArray[np.uint8]
Arrays = tuple[Pixels, NDArray[np.integer]]  # images (n, C, H, W), labels (n,)
Report = Callable[[int, int], None]  # called with (done, total)
CIFAR_SHAPE = (3, 32, 32)
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")  # PIL decodes others by foreign programs
NARROWEST = 64  # sides of an image: what is scaled takes this much more memory than a square


def check_labels(path: Path, labels: NDArray[np.integer], classes: int) -> None:
    """Raise a ValueError with `path` unless every label is below `classes`."""
    if labels.max(initial=0) >= classes:
        raise ValueError(f"{path} has the label {labels.max()}; 0 to {classes - 1} are allowed")


def read_idx(path: Path, shape: Shape) -> Pixels:
    """Read an idx file of unsigned bytes, plain or (if its name ends in .gz) gzipped.

    Args:
        shape: The shape it must have. No more bytes are read, whatever the header claims.

    Raises:
        ValueError: If it has another type or shape, is torn, or too long.
    """
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)  # 8: unsigned bytes
    size = len(header) + prod(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(size + 1)  # one more, to find the end
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is torn or no gzip file ({error})") from error
    if not content.startswith(header) or len(content) != size:
        raise ValueError(f"{path} is torn, too long or no idx file of bytes of shape {shape}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy()


def read_cifar(path: Path, count: int, classes: int, label_bytes: int = 1) -> Arrays:
    """Read one file of CIFAR's binary form: records of labels and 3 x 32 x 32 bytes.

    Args:
        count: The number of records it must hold.
        classes: Every label must be below this.
        label_bytes: 1 for CIFAR-10; 2 for CIFAR-100, coarse before fine. The last is read.

    Raises:
        ValueError: If the file has another size, or a label is out of range.
    """
    record = label_bytes + prod(CIFAR_SHAPE)
    if (size := path.stat().st_size) != count * record:
        raise ValueError(f"{path} has {size:,} bytes; {count:,} x {record:,} are expected")
    records = np.fromfile(path, np.uint8).reshape(count, record)
    check_labels(path, records[:, label_bytes - 1], classes)
    return records[:, label_bytes:].reshape(count, *CIFAR_SHAPE), records[:, label_bytes - 1]


def read_tiny_imagenet(
    folder: Path, split: str, count: int, shape: Shape, report: Report | None = None
) -> Arrays:
    """Read one split of Tiny ImageNet's folder; wnids.txt numbers the classes.

    The decoded images are kept beside the folder (train/cache.py).

    Args:
        folder: Contains wnids.txt, train/WNID/images, val/val_annotations.txt and val/images.
        split: "train" (ordered by class and file name) or "val" (as annotated).
        count: The number of images it must have.
        shape: The shape of every image; grey images become RGB.
        report: Called now and then with (done, total) while images are decoded.

    Raises:
        ValueError: If there are more or fewer images, or one is torn or of another shape.
    """
    wnids = (folder / "wnids.txt").read_text("latin-1").split()
    rows, source = (_train_rows if split == "train" else _val_rows)(folder, wnids)
    if len(rows) != count:
        raise ValueError(f"{source} has {len(rows):,} images; {count:,} are expected")
    files = [file for file, _ in rows]
    make = partial(decode_all, files, shape, partial(_picture, shape=shape), report)
    images = kept(folder, split, files, (count, *shape), make)
    return images, np.array([label for _, label in rows])


def _train_rows(folder: Path, wnids: list[str]) -> tuple[list[tuple[Path, int]], Path]:
    source = folder / "train"
    of_class = [sorted((source / wnid / "images").glob("*.JPEG")) for wnid in wnids]
    return [(file, label) for label, files in enumerate(of_class) for file in files], source


def _val_rows(folder: Path, wnids: list[str]) -> tuple[list[tuple[Path, int]], Path]:
    source = folder / "val" / "val_annotations.txt"
    rows = [line.split("\t") for line in source.read_text("latin-1").splitlines()]
    label = {wnid: number for number, wnid in enumerate(wnids)}
    if odd := next((row for row in rows if len(row) < 2 or row[1] not in label), None):
        raise ValueError(f"{source} has the line {odd}, without a class of wnids.txt")
    return [(folder / "val" / "images" / row[0], label[row[1]]) for row in rows], source


def decode_all(
    files: list[Path], shape: Shape, decode: Callable[[Path], Pixels], report: Report | None
) -> Pixels:
    """Decode files, one by one, into an array (n, C, H, W); each gives (C, H, W)."""
    images = np.empty((len(files), *shape), np.uint8)
    for done, file in enumerate(files, start=1):
        images[done - 1] = decode(file)
        if report and (done % 500 == 0 or done == len(files)):
            report(done, len(files))
    return images


def _picture(file: Path, shape: Shape) -> Pixels:
    width, height = size_of(file)
    if (height, width) != shape[1:]:
        raise ValueError(f"{file} is an image of shape {(3, height, width)}; {shape} is expected")
    return np.asarray(decoded(file)).transpose(2, 0, 1)


def size_of(file: str | Path) -> tuple[int, int]:
    """The width and the height of an image; no pixel is decoded, as a small file may hold many.

    Raises:
        ValueError: If the file is missing, torn, no image, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"{file} has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except Exception:  # of PIL: OSError, SyntaxError, struct.error and others
        raise ValueError(f"{file} is missing, torn or no image") from None


def refuse_narrow(file: str | Path) -> None:
    """Refuse an image that would be huge once its shorter side is scaled."""
    width, height = size_of(file)
    if max(width, height) > NARROWEST * min(width, height):
        most = f"one side may be {NARROWEST} times as long as the other"
        raise ValueError(f"{file} is an image of {width:,} x {height:,} pixels; {most}")


def decoded(file: str | Path, mode: str = "RGB") -> Image.Image:
    """Decode an image file into this mode of PIL.

    Raises:
        ValueError: If it is torn.
    """
    try:
        with Image.open(file) as image:
            return image.convert(mode)
    except Exception:  # as in `size_of`
        raise ValueError(f"{file} is missing, torn or no image") from None
