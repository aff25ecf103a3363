"""One experiment, from its configuration to its files: their content, and that it is repeatable."""

import json
import os
import subprocess
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments.runs.run as module
import synflow
from experiments.config import RunConfig, restore
from experiments.runs import training, untrained
from experiments.runs.build import initial_model
from experiments.runs.files import (
    HISTORY_COLUMNS,
    LAYER_COLUMNS,
    STEP_COLUMNS,
    read_result,
    read_rows,
)
from experiments.runs.provenance import provenance
from experiments.runs.run import run
from proofs_tests.tools.runs import CPU, N, command, configured, files, raw, timeless
from prune import SCORES
from prune.positive import FLOWS
from train import checkpoint
from train.batches import normalised, task
from train.data import DATASETS, Split, load

pytestmark = pytest.mark.usefixtures("one_thread")

READERS = ("snip", "grasp", "grasp-text", "skeletonization", "taylor-fo")


# ---- what a run writes ----------------------------------------------------------------------


def test_result_json_has_the_fields_of_the_contract_and_no_other(finished):
    """The contract of the files."""
    result = json.loads((finished / "result.json").read_text())
    assert set(result) == {
        "config",
        "prunable",
        "kept",
        "compression",
        "density",
        "empty_tensors",
        "effective",
        "effective_density",
        "notes",
        "sha256",
        "connected",
        "max_prune_cut_ratio",
        "steps",
        "score_dtype",
        "trained",
        "untrained",
        "best",
        "final",
        "seconds",
        "versions",
    }
    assert (result["prunable"], result["kept"], result["compression"]) == (N, N // 10, 10)
    assert list(result["density"]) == ["1.weight", "3.weight", "5.weight"]
    assert all(0 < density < 1 for density in result["density"].values())
    assert result["empty_tensors"] == result["notes"] == [] and result["connected"] is True
    assert 0 < result["effective"] <= result["kept"]
    assert list(result["effective_density"]) == list(result["density"])
    assert 0 < result["max_prune_cut_ratio"] < 1
    assert (result["steps"], result["score_dtype"]) == (3, "float64")
    for name in ("untrained", "best", "final"):
        assert list(result[name]) == ["top1", "top5", "loss"]
        assert 0 <= result[name]["top1"] <= result[name]["top5"] <= 100
    assert list(result["seconds"]) == ["prune", "train"] and min(result["seconds"].values()) > 0
    assert torch.__version__.startswith(result["versions"]["torch"])
    code = provenance()
    assert code.items() <= result["versions"].items() and code["synflow"] == synflow.__version__


def test_the_config_in_the_result_repeats_the_run(finished):
    """It has every field that decides the result, and no path of this machine."""
    stored = json.loads((finished / "result.json").read_text())["config"]
    elsewhere = {"data_dir", "results", "workers", "compact", "log"}
    assert set(stored) == set(RunConfig.__dataclass_fields__) - elsewhere
    lists = {name: tuple(stored[name]) for name in ("lr_drops", "exclude")}
    assert restore(stored).decisive == stored | lists
    assert replace(restore(stored), results=str(finished.parent)).directory == finished


def test_masks_are_plain_bool_arrays_in_the_order_of_the_parameters(finished):
    with np.load(finished / "masks.npz", allow_pickle=False) as archive:
        names = [name for name in archive.files if not name.startswith("__")]
        masks = {name: archive[name] for name in names}
        assert json.loads(str(archive["__config"]))["pruner"] == "synflow"
    shapes = {"1.weight": (300, 64), "3.weight": (100, 300), "5.weight": (10, 100)}
    assert {name: mask.shape for name, mask in masks.items()} == shapes
    assert all(mask.dtype == np.bool_ for mask in masks.values())
    density = json.loads((finished / "result.json").read_text())["density"]
    assert {name: mask.mean() for name, mask in masks.items()} == density


def test_the_tables_have_the_columns_of_the_contract(finished):
    heads = {name: (finished / name).read_text().partition("\n")[0].strip() for name in TABLES}
    assert heads == TABLES
    history, layers, steps = (timeless(finished / name) for name in TABLES)
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert [row["shape"] for row in layers] == ["300x64", "100x300", "10x100"]
    assert [int(row["kept"]) for row in steps] == [ceil(N * 10 ** (-k / 3)) for k in (1, 2, 3)]


COUNTS = {"epoch", "step", "size", "kept"}


@pytest.mark.parametrize(
    "name, columns",
    [
        ("history.csv", HISTORY_COLUMNS),
        ("layers.csv", LAYER_COLUMNS),
        ("steps.csv", STEP_COLUMNS),
    ],
)
def test_the_tables_are_read_as_numbers(finished, name, columns):
    """Counts are integers, names and shapes text, everything else is a float."""
    assert ",".join(columns) == TABLES[name]
    for row in read_rows(finished / name, columns):
        kinds = {column: type(value) for column, value in row.items()}
        assert {column for column, kind in kinds.items() if kind is int} == COUNTS & set(columns)
        assert {c for c, kind in kinds.items() if kind is str} == {"name", "shape"} & set(columns)
        assert set(kinds.values()) <= {int, str, float}


TABLES = {
    "history.csv": "epoch,lr,train_loss,test_loss,top1,top5,seconds",
    "layers.csv": "name,shape,size,kept,density,score_sum,score_mean,mean_square_weight",
    "steps.csv": "step,kept,R,prune_cut_ratio,seconds",
}


def test_the_table_of_layers_describes_the_initial_network(finished):
    """Scores are those of the last scoring, and conserved: each layer's sum is R (Theorem 2)."""
    stored = json.loads((finished / "result.json").read_text())["config"]
    weights = initial_model(restore(stored)).state_dict()
    *_, last = timeless(finished / "steps.csv")
    with np.load(finished / "masks.npz") as masks:
        for row in timeless(finished / "layers.csv"):
            mask, weight = masks[row["name"]], weights[row["name"]].double().numpy()
            assert int(row["size"]) == mask.size and int(row["kept"]) == mask.sum()
            assert float(row["density"]) == mask.mean()
            # rounding, here and below: sums in another order
            assert float(row["score_sum"]) == pytest.approx(float(last["R"]), rel=1e-9)
            assert float(row["score_mean"]) == float(row["score_sum"]) / mask.size
            assert float(row["mean_square_weight"]) == pytest.approx((weight[mask] ** 2).mean())


def test_untrained_best_and_final_are_what_they_are_called(tmp_path, monkeypatch):
    """`best` is chosen by top1; of equal epochs it is the earliest."""
    top1 = [50.0, 70.0, 70.0, 60.0]
    rows = [
        {"epoch": i + 1, "lr": 0.1, "train_loss": 1.0, "test_loss": 5.0 - i, "top1": value}
        | {"top5": 90.0 + i, "seconds": 1.0}
        for i, value in enumerate(top1)
    ]
    monkeypatch.setattr(training, "train", lambda *_, **__: rows)
    measured = {"top1": 10.0, "top5": 50.0, "loss": 2.3}
    monkeypatch.setattr(untrained, "evaluate", lambda *_, **__: measured)
    result = read_result(run(configured(tmp_path, epochs=4)))
    assert result["untrained"] == measured
    assert result["best"] == {"top1": 70.0, "top5": 91.0, "loss": 4.0}
    assert result["final"] == {"top1": 60.0, "top5": 93.0, "loss": 2.0}
    assert result["seconds"]["train"] == 4


def test_training_starts_from_the_initial_weights_of_the_seed_and_keeps_the_masks(finished):
    """The pruned weights, and no others, are 0 in the trained network."""
    state = checkpoint.load(finished / "checkpoint.pt", CPU)
    with np.load(finished / "masks.npz") as masks:
        for name in ("1.weight", "3.weight", "5.weight"):
            assert np.array_equal(state["model"][name].numpy() != 0, masks[name])


# ---- every method ---------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("pruner", SCORES)
def test_every_pruner_runs_on_digits(tmp_path, pruner, steps):
    """Exactly ceil(N / rho) weights are kept, in one step and in four."""
    path = run(configured(tmp_path, pruner=pruner, steps=steps, compression=7, epochs=0))
    result = read_result(path)
    assert result["kept"] == ceil(N / 7) and result["steps"] == steps
    assert (result["max_prune_cut_ratio"] is None) == (pruner not in FLOWS)
    assert len(timeless(path.with_name("steps.csv"))) == steps


def test_no_two_pruners_keep_the_same_weights(tmp_path):
    """Except for SNIP and its square, which have the same ranking."""
    masks = {
        pruner: run(configured(tmp_path, pruner=pruner, steps=1, epochs=0)).with_name("masks.npz")
        for pruner in SCORES
    }
    kept = {}
    for pruner, path in masks.items():
        with np.load(path) as archive:
            kept[pruner] = archive["1.weight"].tobytes()
    assert kept["snip"] == kept["taylor-fo"] and len(set(kept.values())) == len(SCORES) - 1


@pytest.mark.parametrize(
    "given, kept, steps",
    [
        ({"schedule": "linear"}, N // 10, 3),
        ({"scope": "local"}, 1920 + 3000 + 100, 3),
        ({"schedule": "certified", "steps": None}, N // 10, None),
        ({"allocation": "erk"}, N // 10, 3),
        ({"compression": 1}, N, 3),
        ({"score_dtype": "float32"}, N // 10, 3),
        ({"width": 0.5, "compression": 3}, ceil((64 * 150 + 150 * 50 + 50 * 10) / 3), 3),
    ],
    ids=str,
)
def test_every_option_of_pruning_reaches_it(tmp_path, finished, given, kept, steps):
    config = configured(tmp_path, **{"epochs": 0, **given})
    result = read_result(run(config))
    rows = timeless(config.directory / "steps.csv")
    assert result["kept"] == kept and result["steps"] == len(rows) == (steps or len(rows))
    assert result["score_dtype"] == given.get("score_dtype", "float64")
    assert timeless(config.directory / "steps.csv") != timeless(finished / "steps.csv")


def test_a_model_from_a_factory_is_pruned_and_trained(tmp_path, factory):
    config = configured(tmp_path, model=factory, compression=4, epochs=3, lr=0.05)
    path = run(config)
    result = read_result(path)
    assert result["kept"] == ceil((6 * 9 + 2160) / 4)
    assert list(result["density"]) == ["0.weight", "5.weight"]
    assert result["final"]["top1"] > 60 > result["untrained"]["top1"]
    assert path.parent.name.startswith("theirs.nets-net-digits-synflow-4-seed0-")


# ---- the data that scores see ---------------------------------------------------------------


@pytest.fixture
def probe(monkeypatch):
    """A function that calls `run` with a configuration and returns the probe passed to `prune`."""
    seen = []

    def prune(model, score, probe, *_, **__):
        seen.append(probe)
        raise InterruptedError

    def call(config: RunConfig):
        with pytest.raises(InterruptedError):
            run(config)
        return seen[-1]

    monkeypatch.setattr(module, "prune", prune)
    return call


def test_scores_see_a_random_subset_of_training_images_without_augmentation(tmp_path, probe):
    """10 x classes images, not balanced, drawn from the seed (App. 12.1; DEPARTURES.md, row 10)."""
    inputs, labels = zip(*probe(configured(tmp_path, pruner="snip")).batches)
    train, test = load("digits", tmp_path)
    plain = task((train, test), DATASETS["digits"], (1, 8, 8), CPU)
    images = normalised(train.images, plain)
    chosen = [
        [torch.equal(image, one) for image in images].index(True) for one in torch.cat(inputs)
    ]
    assert len(chosen) == len(set(chosen)) == 100
    assert torch.equal(train.labels[chosen], torch.cat(labels))
    assert set(torch.bincount(torch.cat(labels)).tolist()) != {10}
    (again,) = probe(configured(tmp_path, pruner="grasp")).batches
    assert not probe(configured(tmp_path, pruner="grasp")).batch_statistics
    by_batch = configured(tmp_path, pruner="grasp", bn="batch", model="resnet20")
    assert probe(by_batch).batch_statistics
    (other,) = probe(configured(tmp_path, pruner="snip", seed=1)).batches
    assert torch.equal(again[1], torch.cat(labels)) and not torch.equal(other[1], again[1])


@pytest.mark.parametrize(
    "dataset, batches",
    [
        ("cifar10", [100]),
        ("cifar100", [256, 256, 256, 232]),
        ("tiny-imagenet", [64] * 31 + [16]),
        ("digits", [100]),
    ],
)
def test_scores_see_batches_of_the_papers_size(tmp_path, probe, monkeypatch, dataset, batches):
    """256 images on CIFAR, 64 on Tiny ImageNet (App. 12.1)."""
    known = DATASETS[dataset]
    n = 10 * known.classes + 50
    half = Split(torch.zeros(n, *known.shape, dtype=torch.uint8), torch.arange(n) % known.classes)
    monkeypatch.setattr("experiments.runs.build.load", lambda *_: (half, half))
    monkeypatch.setattr(module, "locate", lambda *_: None)
    seen = probe(configured(tmp_path, dataset=dataset, pruner="snip"))
    assert [len(labels) for _, labels in seen.batches] == batches


@pytest.mark.parametrize("pruner", sorted(SCORES.keys() - set(READERS)))
def test_other_scores_see_no_data(tmp_path, probe, pruner):
    seen = probe(configured(tmp_path, pruner=pruner))
    assert len(seen.batches) == 0 and seen.input_shape == (1, 8, 8)


# ---- identical runs -------------------------------------------------------------------------


NEEDS_MKL = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="needs MKL")


@pytest.mark.parametrize("threads", ["1", pytest.param("2", marks=NEEDS_MKL)])
def test_two_runs_of_one_seed_are_identical(tmp_path, finished, threads):
    """All files, timings aside, from another process and folder, with two threads if MKL sums."""
    clean = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    subprocess.run(
        command(tmp_path, "--steps", "3", "--epochs", "2"),
        env=clean | {"OMP_NUM_THREADS": threads},
        check=True,
        capture_output=True,
    )
    (directory,) = tmp_path.iterdir()
    assert directory.name == finished.name and files(directory) == files(finished)
    same_bytes = ("masks.npz", "layers.csv")
    assert all(raw(directory)[name] == raw(finished)[name] for name in same_bytes)


def test_another_seed_is_another_run(tmp_path, finished):
    """Weights, masks and order differ: only the lock file is the same."""
    other = run(configured(tmp_path, seed=1)).parent
    ours, theirs = files(other), files(finished)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] == theirs[name]] == [".lock"]


@pytest.mark.parametrize("pruner", ["random", "snip"])
def test_random_scores_and_subsets_come_from_the_seed(tmp_path, pruner):
    first, second, other = (
        raw(run(configured(tmp_path / folder, pruner=pruner, seed=seed, epochs=0)).parent)
        for folder, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first["masks.npz"] == second["masks.npz"] != other["masks.npz"]


def test_each_configuration_has_a_directory_of_its_own():
    """Its name is readable, and depends neither on paths nor on the number of the GPU."""
    base = RunConfig(device="cpu")
    changes = [
        {"seed": 1},
        {"compression": 10.001},
        {"epochs": 1},
        {"lr_drops": (1,)},
        {"steps": 7},
        {"width": 0.5},
        {"score_dtype": "float32"},
        {"init": "published"},
        {"device": "cuda"},
    ]
    names = {replace(base, **change).directory.name for change in [{}, *changes]}
    assert len(names) == 1 + len(changes)
    assert all(name.startswith("mlp-digits-synflow-10") for name in names)
    moved = replace(base, results="/elsewhere", data_dir="/there")
    assert moved.directory == Path("/elsewhere") / base.directory.name
    one, two = (replace(base, device=f"cuda:{i}").directory for i in (0, 1))
    assert one == two
    slashes = replace(base, model="a.b:c/d").directory
    assert slashes.parent == base.directory.parent


# ---- runs without training or data ----------------------------------------------------------


@pytest.mark.parametrize("pruner", sorted(SCORES.keys() - set(READERS)))
def test_without_epochs_a_score_without_data_needs_none_on_disk(tmp_path, pruner, monkeypatch):
    monkeypatch.setattr("experiments.runs.build.load", lambda *_: pytest.fail("data was read"))
    given = {"model": "resnet20", "dataset": "tiny-imagenet", "width": 0.2, "steps": 1}
    config = configured(tmp_path, epochs=0, pruner=pruner, data_dir=str(tmp_path), **given)
    result = read_result(run(config))
    assert result["untrained"] is result["best"] is result["final"] is None
    assert result["seconds"]["train"] == 0 and result["kept"] == ceil(result["prunable"] / 10)
    files = {"result.json", "masks.npz", "layers.csv", "steps.csv", ".lock"}
    assert set(os.listdir(config.directory)) == files


@pytest.mark.parametrize("given", [{"epochs": 2}, {"epochs": 0, "pruner": "snip"}], ids=str)
def test_missing_data_is_an_error_before_anything_is_built(tmp_path, nothing_is_built, given):
    """The error names what is missing, where, and how to get it; no folder is made."""
    config = configured(
        tmp_path / "results",
        model="wrn18",
        dataset="tiny-imagenet",
        data_dir=str(tmp_path),
        **given,
    )
    with pytest.raises(FileNotFoundError) as error:
        run(config)
    text = str(error.value)
    assert "wnids.txt" in text and str(tmp_path / "tiny-imagenet-200") in text
    assert error.value.remedy == f"data fetch tiny-imagenet --data-dir {tmp_path}"
    assert not (tmp_path / "results").exists()
