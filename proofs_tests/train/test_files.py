"""`whole`: a file is written whole or not at all."""

import os
from pathlib import Path

import pytest

from train.files import whole


class Stopped(BaseException):
    """Stands for Ctrl-C and the like."""


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("error", [ValueError, Stopped])
def test_an_exception_leaves_the_old_file_and_no_temporary_one(tmp_path, old, error):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    with pytest.raises(error), whole(path) as partial:
        partial.write_text("half of the n")
        raise error
    assert os.listdir(tmp_path) == (["a.txt"] if old else [])
    assert not old or path.read_text() == old


def test_the_old_file_stands_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole(path) as partial:
        assert partial == tmp_path / "a.txt.part"
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_a_temporary_file_of_a_killed_process_is_overwritten(tmp_path):
    (tmp_path / "a.txt.part").write_text("a long text that a killed process left")
    with whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


@pytest.fixture
def calls(tmp_path, monkeypatch) -> list[tuple]:
    """The calls of os.fsync and os.replace, each with the name of the file and its content."""
    made, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        content = sorted(os.listdir(path)) if path.is_dir() else path.read_text()
        made.append(("fsync", path.name, content))
        fsync(descriptor)

    def renamed(source, target):
        made.append(("replace", Path(source).name, Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return made


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="file names are found in /proc")
def test_the_disk_has_the_content_before_the_name_and_then_the_name(tmp_path, calls):
    """Otherwise a power failure could leave an empty file under the final name."""
    with whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert calls == [
        ("fsync", "a.txt.part", "new"),
        ("replace", "a.txt.part", "a.txt"),
        ("fsync", tmp_path.name, ["a.txt"]),
    ]


def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    """Some file systems report it only when the content is synchronised."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), whole(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_synchronised_is_no_error(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse_folders(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with whole(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
