"""An array that takes long to make of many files, kept in one file beside their folder.

The file is FOLDER-PART-STATE.npy. STATE is a check sum of the names, sizes and dates of all files:
if one changes, the array is made anew and the old file removed. Processes may write it at once,
and it may be deleted at any time. Where it cannot be written, every run makes the array anew.
"""

import glob
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from train.files import whole

Shape = tuple[int, ...]


def kept(
    folder: Path,
    part: str,
    files: list[Path],
    shape: Shape,
    make: Callable[[], NDArray],
    dtype: DTypeLike = np.uint8,
) -> NDArray:
    """Return the array of the file or, where there is none of these files' state, of `make`.

    Args:
        folder: The folder that holds the files; the array is kept beside it.
        part: The part of the folder that the array is made of, in the name of its file.
        files: The files that it is made of. They may be missing.
        shape: Its shape; another one is not read.
        make: Makes it; may raise.
        dtype: The type of its entries; likewise.
    """
    place = Path(os.path.abspath(folder))
    cache = place.parent / f"{place.name}-{part}-{_state(folder, files):08x}.npy"
    array = _read(cache, shape, dtype)
    if array is None:
        array = make()
        _store(cache, array)
    return array


def _state(folder: Path, files: list[Path]) -> int:
    """A check sum of the names, sizes and dates of some files, which may be missing."""
    state = 0
    for file in files:
        found = os.stat(file) if file.exists() else None
        dates = found and (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        state = zlib.crc32(f"{file.relative_to(folder).as_posix()} {dates}\n".encode(), state)
    return state


def _read(cache: Path, shape: Shape, dtype: DTypeLike) -> NDArray | None:
    with suppress(OSError, EOFError, ValueError):  # missing or torn: it is made again
        array = np.load(cache)
        return array if array.shape == shape and array.dtype == dtype else None


def _store(cache: Path, array: NDArray) -> None:
    """Keep the array, in place of those of another state of the folder."""
    with suppress(OSError):  # without a cache it only takes longer
        before = glob.escape(cache.name[: -len("01234567.npy")])
        for old in cache.parent.glob(f"{before}{'[0-9a-f]' * 8}.npy"):
            old.unlink()
        with whole(cache) as temporary:
            np.save(temporary, array)
