"""Download, unpack and verify datasets.

Archives stay in the data directory and may be placed there by hand. A download or a folder gets
its name when it is complete, and nothing is unpacked before its checksum is right.
"""

import gzip
import hashlib
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path, PureWindowsPath
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchvision.datasets import MNIST, FashionMNIST

from train.data import Dataset, known, load, locate
from train.files import whole
from train.readers import Pixels, Report

TIMEOUT = 20  # seconds to wait for an answer
CHUNK = 1 << 20  # bytes
MAX_BYTES, MAX_MEMBERS = 2 << 30, 200_000  # of an unpacked archive
TORN = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
)  # errors of an archive
MEAN_TOLERANCE = 0.01  # of images / 255


class Archive(NamedTuple):
    """A file to download to `path` in the data directory."""

    path: str
    url: str
    md5: str


def _archives(folder: str, site: str, files: list[tuple[str, str]]) -> list[Archive]:
    return [Archive(folder + file, site + file, md5) for file, md5 in files]


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_STANFORD = "http://cs231n.stanford.edu/"
_CIFAR10 = [("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")]
_CIFAR100 = [("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")]
_TINY = [("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")]
ARCHIVES = {
    "mnist": _archives("mnist/", MNIST.mirrors[0], MNIST.resources),
    "fashion-mnist": _archives("fashion-mnist/", FashionMNIST.mirrors[0], FashionMNIST.resources),
    "cifar10": _archives("", _TORONTO, _CIFAR10),
    "cifar100": _archives("", _TORONTO, _CIFAR100),
    "tiny-imagenet": _archives("", _STANFORD, _TINY),
}


def fetch(name: str, data_dir: Path, report: Report | None = None) -> str:
    """Download a dataset into `data_dir` unless it is there.

    Args:
        name: A key of DATASETS.
        data_dir: Made if it does not exist.
        report: Called with (done, total) bytes of each download; total is 0 if unknown.

    Returns:
        One sentence with the dataset's folder.

    Raises:
        ConnectionError: If a download fails; the message gives the path for a file by hand.
        ValueError: If there is no download, a checksum is wrong, an archive is not safe to
            unpack, or an incomplete folder is in the way.
    """
    dataset = known(name)
    folder = Path(data_dir) / dataset.folders[0]
    if name == "digits":
        return f"digits is embedded in the package, in {folder}; there is nothing to fetch"
    if ":" in name:
        raise ValueError(
            f"{name} is a data set of your own, in {folder}; there is nothing to fetch"
        )
    if name not in ARCHIVES:
        raise ValueError(f"{name} cannot be fetched: {dataset.provide} in {folder}")
    with suppress(FileNotFoundError):
        return f"{name} is in {locate(name, data_dir)} already"
    for archive in ARCHIVES[name]:
        _get(archive, Path(data_dir) / archive.path, folder, report)
    return f"{name} is in {locate(name, data_dir)} now"


def _get(archive: Archive, path: Path, folder: Path, report: Report | None) -> None:
    packed = path.parent != folder  # otherwise the archive is a file of the folder
    if packed and folder.exists():
        raise ValueError(f"{folder} is not complete: move it away and fetch again")
    if not path.exists() or _md5(path) != archive.md5:
        _download(archive, path, report)
    if packed:
        unpack(path, folder)


def _download(archive: Archive, path: Path, report: Report | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary:
        with temporary.open("wb") as stream:
            for chunk, total in _chunks(archive, path):
                stream.write(chunk)
                if report:
                    report(stream.tell(), total)
        if (md5 := _md5(temporary)) != archive.md5:
            raise ValueError(f"{archive.url} gave a file of MD5 {md5}; {archive.md5} is expected")


def _chunks(archive: Archive, path: Path) -> Iterator[tuple[bytes, int]]:
    try:
        with urlopen(archive.url, timeout=TIMEOUT) as response:
            total = int(response.headers.get("Content-Length") or 0)
            while chunk := response.read(CHUNK):
                yield chunk, total
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is a response, too
        hint = f"the file (MD5 {archive.md5}) may be placed by hand at {path}"
        raise ConnectionError(f"{archive.url} cannot be downloaded ({error}); {hint}") from error


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the folder of that name from a .tar.gz or .zip, completely or not at all.

    Raises:
        ValueError: If the archive is torn, lacks the folder, has members that are links or
            devices or lead out of the folder, or unpacks to too many or too large files.
    """
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder.parent) as temporary:
        try:
            (_unzip if archive.suffix == ".zip" else _untar)(archive, temporary)
        except TORN as error:
            raise ValueError(f"{archive} is torn or no archive ({error})") from error
        if not Path(temporary, folder.name).is_dir():
            raise ValueError(f"{archive} has no folder {folder.name}")
        os.replace(Path(temporary, folder.name), folder)


class _Members(gzip.GzipFile):
    """An unpacked .tar.gz. A long name is read at once, so its header may not claim any size."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= CHUNK:
            raise tarfile.ReadError(f"a name of {size:,} bytes")
        return super().read(size)


def _untar(archive: Path, folder: str) -> None:
    with _Members(archive) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as tar:
        _refuse_unsafe(archive, ((m.name, m.size, m.isreg() or m.isdir()) for m in tar))
        # Debian 12's Python 3.11.2 has no filters: there, the refusal above has to suffice.
        tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def _unzip(archive: Path, folder: str) -> None:
    plain = (0, stat.S_IFREG, stat.S_IFDIR)  # 0: the archive does not give the kind
    with zipfile.ZipFile(archive) as packed:
        kinds = [(m, stat.S_IFMT(m.external_attr >> 16)) for m in packed.infolist()]
        _refuse_unsafe(archive, ((m.filename, m.file_size, kind in plain) for m, kind in kinds))
        packed.extractall(folder)


def _refuse_unsafe(archive: Path, members: Iterable[tuple[str, int, bool]]) -> None:
    total = 0
    for count, (name, size, plain) in enumerate(members, start=1):
        path = PureWindowsPath(name)  # knows / and \ and drives
        total += size
        if path.drive or path.root or ".." in path.parts:
            raise ValueError(f"{archive} has the member {name!r}, which leads out of its folder")
        if not plain:
            raise ValueError(f"{archive} has the member {name!r}, which is a link or a device")
        if count > MAX_MEMBERS or size < 0 or total > MAX_BYTES:
            most = f"{MAX_MEMBERS:,} members or {MAX_BYTES:,} bytes"
            raise ValueError(f"{archive} would unpack to more than {most}")


def verify(name: str, data_dir: Path, report: Report | None = None) -> str:
    """Load a dataset, and check the number of images per class and their mean.

    The mean distinguishes datasets of the same format, such as MNIST and Fashion-MNIST.

    Returns:
        One line with the folder, the sizes and the counts that were checked.

    Raises:
        MissingData: If the dataset is not there.
        ValueError: If a count or the mean is wrong.
    """
    dataset, (train, test) = known(name), load(name, data_dir, report)
    folder = locate(name, data_dir)
    of_each = " + ".join(_per_class(folder, dataset, half.labels.numpy()) for half in (train, test))
    if isinstance(train.images, Tensor):
        _check_mean(folder, dataset, train.images.numpy())
    sizes = f"{dataset.train_size:,} + {dataset.test_size:,} images"
    shape = " x ".join(map(str, dataset.shape))
    return f"{name} in {folder}: {sizes} of {shape}, {of_each} of each of {dataset.classes} classes"


def _check_mean(folder: Path, dataset: Dataset, images: Pixels) -> None:
    if not dataset.mean:  # of a user's own images nothing is known beforehand
        return
    mean = images.mean(axis=(0, 2, 3)) / 255  # (C,)
    if np.abs(mean - dataset.mean).max() > MEAN_TOLERANCE:
        raise ValueError(f"{folder} has images of mean {mean.round(3)}; {dataset.mean} is expected")


def _per_class(folder: Path, dataset: Dataset, labels: NDArray[np.int64]) -> str:
    counts = np.bincount(labels, minlength=dataset.classes)
    least, most = counts.min(), counts.max()
    if least == 0 or (dataset.balanced and least != most):
        allowed = "the same number of each" if dataset.balanced else "at least one of each"
        raise ValueError(
            f"{folder} has {least:,} to {most:,} images of a class; {allowed} is expected"
        )
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
