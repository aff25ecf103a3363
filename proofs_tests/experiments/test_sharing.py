"""Equal trainings are done once; a shared training leaves the files of an own one."""

import os
import shutil
from dataclasses import replace
from itertools import count

import pytest

from experiments.runs import training
from experiments.runs.build import initial_model
from experiments.runs.imp import imp, perform
from experiments.runs.run import run
from experiments.runs.sharing import beginning, trainings
from proofs_tests.tools.runs import configured, files

pytestmark = pytest.mark.usefixtures("one_thread")
ALIKE = {"compression": 10, "steps": None, "epochs": 1}


@pytest.fixture
def trained(monkeypatch) -> list[int]:
    """The number of optimizer steps of each training that was not shared."""
    done, train = [], training.train

    def watched(*arguments, **options):
        steps = count()
        history = train(*arguments[:-1], lambda: next(steps), **options)
        done.extend([taken] if (taken := next(steps)) else [])
        return history

    monkeypatch.setattr(training, "train", watched)
    return done


def cycled(results, cycles, **given):
    return configured(results, **ALIKE | {"cycles": cycles} | given)


def test_cycles_begin_with_the_dense_network_which_is_trained_once(tmp_path, trained):
    run(configured(tmp_path, **ALIKE | {"compression": 1, "pruner": "magnitude"}))
    assert len(trained) == 1
    imp(cycled(tmp_path, 1))
    assert len(trained) == 2  # the final training
    imp(cycled(tmp_path, 2, compression=100))  # 10 of 100 in its first cycle, as the one before
    assert len(trained) == 3
    imp(cycled(tmp_path, 2, compression=100, rewind=False))
    assert len(trained) == 5


def test_what_is_shared_is_foreseen(tmp_path, trained):
    """`trainings` has one entry for each training that is done."""
    dense = {"compression": 1, "pruner": "magnitude"}
    cycles = [(1, 10, True), (1, 10, False), (2, 100, True), (2, 100, False), (3, 10, False)]
    configs = [
        configured(tmp_path, **ALIKE | dense),
        configured(tmp_path, **ALIKE | {"pruner": "random"}),
        *(cycled(tmp_path, n, compression=rho, rewind=again) for n, rho, again in cycles),
        cycled(tmp_path, 1, record_weights=True),
        cycled(tmp_path, 1, seed=1),
    ]
    foreseen = {name for config in configs for name in trainings(config)}
    for config in configs:
        perform(config)
    assert len(foreseen) == len(trained)


def test_a_shared_training_leaves_what_one_of_its_own_does(tmp_path, trained):
    imp(cycled(tmp_path / "both", 1))
    apart = imp(cycled(tmp_path / "apart", 2, compression=100)).parent
    both = imp(cycled(tmp_path / "both", 2, compression=100)).parent
    assert len(trained) == 2 + 3 + 1
    for name in ("cycle-1", "cycle-2", "."):
        ours, theirs = files(apart / name), files(both / name)
        for found in (ours, theirs):
            found.pop("cycle.json", None), found.pop("result.json", None)  # times of cycles
        assert ours == theirs and "checkpoint.pt" in ours


def test_pruners_that_keep_the_same_weights_share(tmp_path, trained):
    run(configured(tmp_path, **ALIKE | {"pruner": "magnitude"}))
    run(configured(tmp_path, **ALIKE | {"pruner": "magnitude", "score_dtype": "float32"}))
    assert len(trained) == 1
    run(configured(tmp_path, **ALIKE | {"pruner": "random"}))
    assert len(trained) == 2


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"epochs": 3}, {"lr": 0.01}, {"train_images": 500}, {"precision": "bfloat16"}],
)
def test_what_trains_otherwise_is_not_shared(tmp_path, other):
    config = configured(tmp_path)
    model = initial_model(config)
    assert beginning(config, model) == beginning(
        replace(config, compression=3.0, pruner="snip"), model
    )
    assert beginning(config, model) != beginning(replace(config, **other), model)


def test_other_weights_are_not_shared(tmp_path):
    config = configured(tmp_path)
    model = initial_model(config)
    before = beginning(config, model)
    next(model.parameters()).data.view(-1)[0] += 1
    assert beginning(config, model) != before


def test_a_run_that_is_deleted_and_made_again_is_trained_again(tmp_path, trained):
    directory = run(configured(tmp_path)).parent
    for path in directory.iterdir():
        path.unlink()
    run(configured(tmp_path))
    assert len(trained) == 2


def test_a_damaged_training_is_not_taken(tmp_path, trained):
    directory = imp(cycled(tmp_path, 1)).parent
    (directory / "cycle-1" / "checkpoint.pt").write_bytes(b"torn")
    run(configured(tmp_path, **ALIKE | {"compression": 1, "pruner": "magnitude"}))
    assert len(trained) == 3


def test_a_checkpoint_of_another_training_next_door_is_not_taken(tmp_path, trained):
    """Also where the file that identifies the training says that it is this one."""
    given = ALIKE | {"pruner": "magnitude"}
    first, other = (run(configured(tmp_path, **given, seed=seed)).parent for seed in (0, 1))
    shutil.copy(other / "checkpoint.pt", first / "checkpoint.pt")
    run(configured(tmp_path, **given, score_dtype="float32"))
    assert len(trained) == 3


def test_recorded_weights_are_those_of_each_epoch(tmp_path, trained):
    for compression in (1, 10):
        imp(cycled(tmp_path, 1, compression=compression + 10, record_weights=True))
    assert len(trained) == 4


def test_without_links_each_run_trains_for_itself(tmp_path, trained, monkeypatch):
    def link(source, target):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", link)
    imp(cycled(tmp_path, 1))
    imp(cycled(tmp_path, 1, compression=20))
    assert len(trained) == 4
