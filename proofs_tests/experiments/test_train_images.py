"""--train-images: a fixed part of the training set, for scoring and for training."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.resolve import resolve
from experiments.runs.build import images, probe
from experiments.runs.imp import imp
from experiments.runs.progress import Silent
from experiments.runs.run import run
from experiments.sweeps.grid import grid
from proofs_tests.tools.runs import configured
from proofs_tests.tools.sweeps import axes
from prune import load_masks
from train.data import DATASETS

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = DATASETS["digits"].train_size


def task(n: int | None = None, **options):
    """The images that a run with these options reads."""
    return images(resolve({"train_images": n, "device": "cpu", **options}), Silent())


def rows(split) -> list[tuple]:
    """The images with their labels, as hashable values."""
    return [(image.numpy().tobytes(), int(label)) for image, label in zip(*split)]


@given(st.integers(1, ALL - 1), st.integers(1, ALL - 1), st.integers(0, 2**31))
def test_all_seeds_train_on_the_same_images_and_fewer_are_among_more(n, m, seed):
    """Subsets are the beginnings of one fixed permutation; the test set is not changed."""
    fewer, more = sorted((n, m))
    whole, small, large = task(), task(fewer, seed=seed), task(more)
    assert len(small.train.labels) == fewer and len(set(rows(large.train))) <= more
    assert rows(small.train) == rows(large.train)[:fewer]
    assert set(rows(small.train)) <= set(rows(whole.train))
    assert rows(small.test) == rows(whole.test)


def test_the_subset_is_mixed_where_the_set_is_sorted_by_class(monkeypatch):
    """In Tiny ImageNet and ImageNet, which are sorted, the first images are all of one class."""
    from experiments.runs import build as module
    from train.data import Split, load

    def ordered(*arguments):
        train, test = load(*arguments)
        order = train.labels.argsort(stable=True)
        return Split(train.images[order], train.labels[order]), test

    monkeypatch.setattr(module, "load", ordered)
    assert set(task(100).train.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("pruner", ["snip", "grasp"])
def test_scores_that_read_data_read_the_subset(pruner):
    config = resolve({"train_images": 100, "pruner": pruner, "device": "cpu"})
    data = images(config, Silent())
    [[inputs, labels]] = probe(config, data).batches
    seen = [tuple(image.flatten().tolist()) for image in inputs]
    pixels = (data.train.images / 255 - data.mean) / data.std
    assert sorted(seen) == sorted(tuple(image.flatten().tolist()) for image in pixels)
    assert sorted(labels.tolist()) == sorted(data.train.labels.tolist())


def test_a_run_trains_on_so_many_images_and_synflow_prunes_as_without(tmp_path, monkeypatch):
    """100 images in batches of 64 take two steps an epoch; SynFlow reads no image."""
    ticks = []
    monkeypatch.setattr(Silent, "begin", lambda _, what, length: ticks.append((what, length)))
    part = run(configured(tmp_path, train_images=100))
    assert ("training", 2 * (2 + 1)) in ticks  # and an evaluation an epoch
    assert json.loads(part.read_text())["config"]["train_images"] == 100
    whole = run(configured(tmp_path))
    assert whole.parent != part.parent
    masks, others = (load_masks(path.with_name("masks.npz")) for path in (part, whole))
    assert all(torch.equal(masks[name], others[name]) for name in others)


def test_cycles_of_imp_train_on_so_many_images(tmp_path, monkeypatch):
    ticks = []
    monkeypatch.setattr(Silent, "begin", lambda _, what, length: ticks.append((what, length)))
    given = {"cycles": 2, "pruner": None, "steps": None, "epochs": 1, "train_images": 100}
    imp(configured(tmp_path, **given))
    counted = [tick for tick in ticks if tick[1]]
    assert counted == [("evaluating before training", 1), ("training", 2 + 1)] * 3


def test_a_sweep_takes_it_for_all_its_runs():
    configs = grid(axes(compression=[1.0, 10.0], seed=[0, 1]), {"train_images": 50})
    assert [config.train_images for config in configs] == [50] * 4


@pytest.mark.parametrize("n", [0, -1, ALL, ALL + 1])
def test_a_number_that_is_no_part_of_the_set_is_refused(n):
    allowed = f"--train-images must be from 1 to {ALL - 1}, not {n}: digits"
    with pytest.raises(ValueError, match=allowed):
        resolve({"train_images": n})


def test_fewer_images_than_a_score_reads_are_refused():
    """A score reads 10 images per class (App. 12.1)."""
    assert resolve({"train_images": 100, "pruner": "snip"}).train_images == 100
    with pytest.raises(ValueError, match=r"--train-images must be from 100 to .* snip reads 100$"):
        resolve({"train_images": 99, "pruner": "snip"})


def test_it_is_refused_where_no_data_is_read():
    with pytest.raises(ValueError, match="--train-images does nothing"):
        resolve({"train_images": 50, "epochs": 0})
    assert resolve({"train_images": 100, "epochs": 0, "pruner": "grasp"}).train_images == 100


def test_runs_without_it_keep_the_directories_they_had_before_it_came():
    given = {"model": "vgg11", "dataset": "fashion-mnist", "pruner": "snip", "width": 0.25}
    old = resolve({**given, "compression": 100, "epochs": 3, "device": "cpu"})
    assert old.directory.name == "vgg11-fashion-mnist-snip-100-seed0-257feeaa"
