"""Files that are written whole or not at all."""

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.figures.canvas import canvas, save
from experiments.runs.files import write_text
from proofs_tests.tools import ROOT
from prune import save_masks
from train import checkpoint
from train.files import lock, whole, write_whole


@pytest.fixture
def path(tmp_path) -> Path:
    """A file with an old content."""
    (tmp_path / "results.npz").write_text("old")
    return tmp_path / "results.npz"


def test_the_new_content_replaces_the_old_one_at_the_end(path):
    with whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.parent == path.parent
    assert path.read_text() == "new" and os.listdir(path.parent) == [path.name]


def test_the_temporary_file_keeps_the_suffix(path):
    """NumPy appends a suffix that is not there, and the file would not be found."""
    with whole(path) as temporary:
        np.savez(temporary, x=np.arange(3))
    assert np.load(path)["x"].tolist() == [0, 1, 2] and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["checkpoint.pt", "cifar.tar.gz", "data_batch_1", ".hidden"])
def test_any_name_will_do(tmp_path, name):
    with whole(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("begun", [True, False])
def test_an_error_leaves_the_old_file_and_nothing_else(path, error, begun):
    with pytest.raises(type(error)), whole(path) as temporary:
        if begun:
            temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("where", ["os.fsync", "os.replace"])
def test_so_does_an_error_at_the_end(path, monkeypatch, where):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(where, full)
    with pytest.raises(OSError, match="No space"), whole(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old" and os.listdir(path.parent) == [path.name]


def test_content_then_name_then_folder_reach_the_disk(path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace

    def flush(descriptor: int) -> None:
        calls.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    with whole(path) as temporary:
        temporary.write_text("new")
    assert calls == [path.stat().st_ino, "replace", path.parent.stat().st_ino]


def test_a_folder_that_cannot_be_flushed_is_no_error(path, monkeypatch):
    """Some file systems refuse it; the file has its name by then."""
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with whole(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


OTHER = """
import sys
from pathlib import Path
from train.files import whole
with whole(Path(sys.argv[1])) as temporary:
    temporary.write_text("theirs")
    print(temporary)
"""


def test_two_processes_do_not_write_to_one_temporary_file(path):
    with whole(path) as temporary:
        temporary.write_text("ours")
        words = [sys.executable, "-c", OTHER, str(path)]
        other = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        assert path.read_text() == "theirs" and other.stdout.strip() != str(temporary)
    assert path.read_text() == "ours"


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, handler)


WRITERS = {
    "checkpoint": lambda path: checkpoint.save({"model": torch.ones(9_000)}, path),
    "program": lambda path: write_whole(path, partial(torch.export.save, program())),
    "masks": lambda path: save_masks({"weight": torch.rand(300, 300) > 0.5}, path),
    "text": lambda path: write_text(path, "x" * 9_000),
    "image": lambda path: save(noise(), path),
}


def program() -> torch.export.ExportedProgram:
    return torch.export.export(torch.nn.Linear(90, 90), (torch.ones(1, 90),))


def noise():
    figure = canvas(3, 3)
    figure.figimage(np.random.default_rng(0).integers(0, 256, (300, 300, 3)) / 255)
    return figure


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_named_and_leaves_the_old_file(path, write):
    with room(4_000), pytest.raises(OSError) as error:
        write(path)
    assert error.value.filename == str(path) and error.value.strerror == "File too large"
    assert path.read_text() == "old" and os.listdir(path.parent) == [path.name]


def test_a_folder_that_is_missing_is_told_with_the_file_asked_for(tmp_path):
    path = tmp_path / "gone" / "result.json"
    with pytest.raises(FileNotFoundError) as error:
        write_text(path, "x")
    assert error.value.filename == str(path)


def test_an_error_of_another_file_keeps_its_name(path):
    with pytest.raises(FileNotFoundError) as error, whole(path):
        open(path.with_name("other"))
    assert error.value.filename == str(path.with_name("other"))


class Msvcrt:
    """The two names that `lock` needs of the module that only Windows has."""

    LK_NBLCK = 2

    def __init__(self):
        self.held: set[int] = set()

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        if (inode := os.fstat(descriptor).st_ino) in self.held:
            raise PermissionError(13, "Permission denied")
        self.held.add(inode)


@pytest.mark.parametrize("windows", [True, False])
def test_a_file_is_locked_once(path, monkeypatch, windows):
    if windows:
        monkeypatch.setitem(sys.modules, "fcntl", None)
        monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt())
    with open(path, "w") as one, open(path, "w") as two:
        assert lock(one) and not lock(two)


def test_a_file_system_without_locks_is_named(path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: crash_of_locks())
    with open(path, "w") as file, pytest.raises(OSError) as error:
        lock(file)
    assert error.value.filename == str(path) and "No locks" in error.value.strerror


def crash_of_locks() -> None:
    raise OSError(37, "No locks available")
