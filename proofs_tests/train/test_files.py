"""Files that are written whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from proofs_tests.tools import ROOT
from train.files import whole


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
