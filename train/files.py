"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` at the end.

    A reader finds the old file or the new one, also after a crash or a power cut. If the block
    raises, the old file stays and the temporary one is removed.

    Yields:
        A path with the suffix of `path`, which no other process uses.
    """
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some file systems cannot flush a folder
        _flush(path.parent)


def _flush(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
