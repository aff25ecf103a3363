"""Stored configurations: those of older versions are read, damaged ones are refused by name."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import config as module
from experiments.config import BEFORE, ELSEWHERE, RunConfig, restore
from experiments.figures import accuracy, collect
from experiments.resolve import resolve
from experiments.runs.export import export
from experiments.runs.files import PassedOver
from experiments.runs.inspection import inspect
from experiments.series import Series
from proofs_tests.tools.runs import raw
from proofs_tests.tools.sweeps import result

FIRST_VERSION = {  # the fields that a result file has had from the beginning
    "model",
    "dataset",
    "pruner",
    "compression",
    "steps",
    "schedule",
    "scope",
    "seed",
    "width",
    "init",
    "device",
    "score_dtype",
    "recipe",
    "epochs",
    "batch_size",
    "lr",
    "lr_drops",
    "drop_factor",
    "weight_decay",
}


def stored(**changes) -> dict:
    """The configuration as a result file holds it, after JSON."""
    config = resolve({"device": "cpu", "lr_drops": (3, 4), "epochs": 5, **changes})
    return json.loads(json.dumps(config.decisive))


def without(content: dict, names) -> dict:
    return {name: value for name, value in content.items() if name not in names}


def test_each_field_that_came_later_has_the_value_that_runs_had_before():
    """A new field without one would make all result files of today unreadable."""
    names = {field.name for field in fields(RunConfig)} - set(ELSEWHERE)
    assert names == FIRST_VERSION | set(BEFORE) and not FIRST_VERSION & set(BEFORE)


@given(st.sets(st.sampled_from(sorted(BEFORE))))
def test_a_config_of_an_older_version_is_restored(missing):
    """Whichever of the later fields it lacks, it is the configuration of that run."""
    whole = stored()
    restored = restore(without(whole, missing))
    assert restored == restore(whole) and restored.lr_drops == (3, 4)
    assert (
        restored.directory == resolve({"device": "cpu", "lr_drops": (3, 4), "epochs": 5}).directory
    )


@pytest.mark.parametrize(("ablate", "digest"), [(None, "55cdf6a2"), ("shuffle", "bdc17d66")])
def test_grasp_of_before_bn_is_grasp_text_and_no_run_of_today(ablate, digest):
    """Its folder, by the digest of then, is that of no run of today."""
    before = {"pruner": "grasp", "ablate": ablate}
    old, new = restore(without(stored(**before), {"bn"})), restore(stored(**before))
    assert (old.pruner, new.pruner) == ("grasp-text", "grasp")
    assert restore(json.loads(json.dumps(old.decisive))) == old
    names = [config.directory.name for config in (old, new)]
    assert len({*names, f"mlp-digits-grasp-10-seed0-{digest}"}) == 3


def test_a_missing_field_has_the_value_of_then_and_not_the_default_of_today(monkeypatch):
    """The name of the run's folder stays, too."""
    content, name = without(stored(), {"precision"}), restore(stored()).directory.name
    monkeypatch.setitem(module.BEFORE, "precision", "bfloat16")
    old, new = restore(content), restore(stored())
    assert (old.precision, new.precision) == ("bfloat16", "float32")
    assert old.directory.name == name != new.directory.name


@pytest.mark.parametrize("name", sorted(FIRST_VERSION))
def test_a_config_that_lacks_a_field_of_every_version_is_refused(name):
    with pytest.raises(ValueError, match=f"^the stored config lacks {name}$"):
        restore(without(stored(), {name}))


@pytest.mark.parametrize("name", ["colour", "data_dir", "workers"])
def test_a_config_with_an_unknown_field_is_refused(name):
    """A newer version may have written it; fields of ELSEWHERE are in no result file."""
    with pytest.raises(ValueError, match=f"^the stored config has unknown fields: {name}$"):
        restore(stored() | {name: "red"})


# What reads the result files of older versions


LATER = {"effective", "effective_density", "notes", "sha256"}  # entries that came later


def older(path: Path) -> None:
    """Make a result file one of the first version."""
    content = json.loads(path.read_text())
    content["config"] = without(content["config"], BEFORE)
    content = without(content, LATER)
    path.write_text(json.dumps(content))


def test_figures_read_results_of_the_first_version_as_those_of_today(tmp_path):
    for compression in (1, 10, 100):
        directory = result(tmp_path, "synflow", compression, 90.0)
    rows = accuracy.draw_all(tmp_path, {}).rows
    older(directory / "result.json")
    assert accuracy.draw_all(tmp_path, {}).rows == rows
    found = collect.runs(tmp_path)
    assert [r["series"] for r in found] == [Series("dense"), Series("synflow"), Series("synflow")]
    assert all(set(r["config"]) == FIRST_VERSION | set(BEFORE) for r in found)


def test_figures_leave_out_a_result_with_an_unknown_field_by_name(tmp_path):
    result(tmp_path, "synflow", 10, 90.0)
    result(tmp_path, "synflow", 10, 90.0, config={"colour": "red"})
    with pytest.warns(PassedOver, match="unknown fields: colour"):
        assert len(collect.runs(tmp_path)) == 1


def test_a_finished_run_of_the_first_version_is_inspected_and_exported(tmp_path, finished):
    for name, content in raw(finished).items():
        (tmp_path / name).write_bytes(content)
    older(tmp_path / "result.json")
    whole, found = inspect(finished), inspect(tmp_path)
    assert found.layers == whole.layers and found.compact == whole.compact
    differ = {"config", "notes", "sha256"}
    assert without(found.result, differ) == without(whole.result, differ)
    assert export(tmp_path, "cpu").path.exists()


def test_the_default_of_the_class_is_not_the_default_run():
    """The recipe gives epochs and hyperparameters (docstring of RunConfig)."""
    run, default = resolve({}), RunConfig()
    assert (run.epochs, run.batch_size, run.steps) == (30, 64, 100)
    given = ("steps", "epochs", *module.HYPERPARAMETERS, "device")
    filled = {name: getattr(run, name) for name in given}
    assert replace(default, **filled) == replace(run, precision="float32")
    assert asdict(default) != asdict(run)
