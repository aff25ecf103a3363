"""Files that are written whole or not at all, and files that one process locks."""

import io
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

TRIES, PAUSE = 5, 0.02  # seconds between two tries of a lock


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` at the end.

    A reader finds the old file or the new one, also after a crash or a power cut. If the block
    raises, the old file stays and the temporary one is removed; a system error names `path`.

    Yields:
        A path with the suffix of `path`, which no other process uses.
    """
    process = f"{platform.node()}-{os.getpid()}"  # of all machines that share the disk
    temporary = path.with_name(f"{path.stem}.{process}.part{path.suffix}")
    try:
        yield temporary
        _flush(temporary, os.O_RDWR)  # Windows flushes no file that is open for reading only
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        own = isinstance(error, OSError) and error.filename in (None, temporary, str(temporary))
        if own and error.errno:
            error.filename, error.filename2 = str(path), None
        raise
    with suppress(OSError):  # some file systems cannot flush a folder
        _flush(path.parent, os.O_RDONLY)


def remove_parts(folder: Path) -> None:
    """Remove what processes that were killed have left of `whole`, under a folder of one's own."""
    for pattern in ("*.part", "*.part.*"):
        for path in folder.rglob(pattern):
            path.unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all; `write` is called with a stream in memory.

    On a full disk the writers of torch hide the cause or end the process.
    """
    content = io.BytesIO()
    write(content)
    with whole(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def lock(file: IO) -> bool:
    """Lock an open file until it is closed. Returns False if another process holds the lock.

    The operating system frees the lock also after a crash. `is_locked` of another process holds
    it for a moment; so this is tried a few times.
    """
    for _ in range(TRIES):
        if _lock(file, exclusive=True):
            return True
        time.sleep(PAUSE)
    return False


def is_locked(file: IO) -> bool:
    """True if another process holds the lock. The file must be closed at once."""
    return not _lock(file, exclusive=False)


def _lock(file: IO, exclusive: bool) -> bool:
    try:
        _lock_or_raise(file.fileno(), exclusive)
    except (BlockingIOError, PermissionError):  # the second is that of Windows
        return False
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file.name)) from None
    return True


def _lock_or_raise(descriptor: int, exclusive: bool) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)


def _flush(path: Path, access: int) -> None:
    """Wait until the file, or the folder's list of names, is on disk."""
    descriptor = os.open(path, access)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
