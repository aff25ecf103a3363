"""Arrays that are kept beside the folder of the files that they are made of."""

import os
from pathlib import Path

import numpy as np
import pytest

from experiments.runs import build
from experiments.runs.progress import Silent
from proofs_tests.tools.runs import configured
from proofs_tests.train.test_own_data import folder
from train import batches, own_data
from train.batches import measured
from train.cache import kept
from train.data import known, load


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """A folder `data[1]`, whose name is a pattern, with two files."""
    paths = [tmp_path / "data[1]" / name for name in ("a", "b")]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_text(path.name)
    return paths


def made(files: list[Path], part: str = "train", make=None) -> np.ndarray:
    make = make or (lambda: np.array([ord(path.read_text()) for path in files], np.uint8))
    return kept(files[0].parent, part, files, (len(files),), make)


def caches(folder: Path) -> list[str]:
    return sorted(path.name[:-12] for path in folder.iterdir() if path.suffix == ".npy")


def never() -> np.ndarray:
    raise AssertionError("made again")


def test_an_array_is_made_once_for_each_part_and_state(files, tmp_path):
    assert made(files).tolist() == made(files, make=never).tolist() == [97, 98]
    made(files, "test")
    made(files, "train@64")
    assert caches(tmp_path) == [f"data[1]-{part}-" for part in ("test", "train", "train@64")]
    files[1].write_text("c")
    assert made(files).tolist() == [97, 99] and made(files, make=never).tolist() == [97, 99]
    assert len(caches(tmp_path)) == 3  # the old one is removed, those of other parts stay


def test_an_array_of_another_shape_or_type_is_not_read(files):
    made(files, make=lambda: np.zeros(3, np.uint8))
    assert made(files).tolist() == [97, 98]
    made(files, "test", make=lambda: np.zeros(2))
    assert made(files, "test").tolist() == [97, 98]


def test_two_processes_may_make_it_at_once(files, tmp_path):
    """The second begins and ends while the first still works."""
    twice = made(files, make=lambda: made(files))
    assert twice.tolist() == made(files, make=never).tolist() == [97, 98]
    assert len(os.listdir(tmp_path)) == 2


def test_a_place_that_cannot_be_written_costs_only_time(files, tmp_path, monkeypatch):
    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(np, "save", read_only)
    assert made(files).tolist() == made(files).tolist() == [97, 98]
    assert os.listdir(tmp_path) == ["data[1]"]


# ---- a folder of pictures -------------------------------------------------------------------


def again(name: str):
    """Load as a new process does, which knows no description yet."""
    own_data.described.cache_clear()
    splits = load(name, Path("unused"))
    return splits, measured(known(name), splits[0].images)


def test_a_folder_of_pictures_is_decoded_and_measured_once(tmp_path, monkeypatch):
    name = folder(tmp_path / "own")
    first, dataset = again(name)
    assert caches(tmp_path) == ["own-test-", "own-train-", "own-train-counts-"]
    monkeypatch.setattr(own_data, "decoded", None)  # a call would be a TypeError
    monkeypatch.setattr(own_data, "value_counts", never)
    second, same = again(name)
    for one, other in zip(first, second):
        assert one.images.equal(other.images) and one.labels.equal(other.labels)
    assert (dataset.mean, dataset.std) == (same.mean, same.std) and len(dataset.mean) == 3


def test_a_changed_picture_is_decoded_and_measured_anew(tmp_path):
    name = folder(tmp_path / "own")
    _, before = again(f"{name}@4")
    again(name)
    victim = tmp_path / "own/train/cat/0.png"
    victim.write_bytes((tmp_path / "own/train/dog/0.png").read_bytes())
    (train, _), dataset = again(f"{name}@4")
    assert train.images[0].equal(train.images[5]) and dataset.mean != before.mean
    assert len(caches(tmp_path)) == 6  # those of the full size stay


def test_the_statistics_are_those_of_all_training_images(tmp_path, monkeypatch):
    """Also if a run trains on a part of them: else runs would be normalised differently."""
    given = {"dataset": folder(tmp_path / "own"), "train_images": 3}
    data = build.images(configured(tmp_path / "results", **given), Silent())
    (train, _), dataset = again(given["dataset"])
    assert len(data.train.labels) == 3 and data.dataset.mean == dataset.mean
    assert batches.task((train, train), dataset, (3, 8, 8), data.mean.device).mean.equal(data.mean)
