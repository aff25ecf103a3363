"""Write a file whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename that file to `path` when the block ends.

    A crash at any moment leaves the old file, the new one, or none if there was none: the
    content is on the disk before the name is.

    Yields:
        A path in the folder of `path`, with the suffix `.part` added. The block creates, writes
        and closes that file. If the block raises, the file is removed and `path` is unchanged.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        yield partial
        _sync(partial, os.O_RDWR)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # some file systems cannot synchronise a folder, Windows cannot
        _sync(path.parent, os.O_RDONLY)


def _sync(path: Path, access: int) -> None:
    """Wait until the disk holds the content of a file, or the names in a folder."""
    descriptor = os.open(path, access)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
