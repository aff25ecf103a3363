"""Packs: two files hold the results and histories of many runs, and give them back exactly."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from experiments.figures import collect
from experiments.figures.tables import accuracies
from experiments.runs import files, packed
from experiments.runs.imp import imp
from experiments.runs.pack import main as command
from experiments.runs.pack import pack, unpack, unpacked
from experiments.runs.run import run
from experiments.sweeps.plan import plan
from experiments.sweeps.sweep import state, summary
from proofs_tests.tools import ROOT
from proofs_tests.tools.packs import ROW, made, names, of_config, only_packed, three
from proofs_tests.tools.runs import configured, raw

COMMITTED = ("laptop", "laptop/epochs", "laptop/rounding", "small")  # folders of results/


@pytest.fixture
def folder(tmp_path) -> Path:
    """A results folder with the pack of three runs, and nothing else."""
    return three(tmp_path)


# What a pack gives back


def test_every_file_comes_back_byte_for_byte(tmp_path):
    """Also of a run without training, which has no history.csv."""
    for number, top1 in enumerate((80.0, 0.1 + 0.2, 1e-17, 1e22)):
        made(tmp_path, "synflow", top1, seed=number)
    untrained = made(tmp_path, "snip", 50.0, config={"model": "café"})
    (untrained / "history.csv").unlink()
    before = only_packed(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["histories.csv", "runs.jsonl"]
    for name, content in before.items():
        assert unpack(tmp_path / name) and raw(tmp_path / name) == content
    assert len(before) == 5 and not unpack(tmp_path / "no-run")


def test_a_line_is_the_name_and_then_the_result(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    names = [json.loads(line)["run"] for line in lines]
    assert names == sorted(names) and len(names) == 3 and len(set(names)) == 3
    for name, line in zip(names, lines, strict=True):
        content = files.read_result(folder / name / "result.json")
        assert json.loads(line) == {"run": name, **content} and "run" not in content
    assert (folder / "histories.csv").read_text().splitlines()[0].startswith("run,epoch,lr,")
    assert sorted(packed.histories(folder, files.HISTORY_COLUMNS)) == names


def test_equal_runs_give_equal_packs_in_whatever_order_they_were_made(tmp_path):
    for name, seeds in (("a", (0, 1)), ("b", (1, 0))):
        for seed in seeds:
            made(tmp_path / name, "synflow", 80.0, seed=seed).rename(tmp_path / name / f"run{seed}")
        only_packed(tmp_path / name)
    assert raw(tmp_path / "a") == raw(tmp_path / "b")


def test_what_was_packed_before_stays_and_a_run_of_now_replaces_it(folder):
    before = {name: files.read_result(folder / name / "result.json") for name in names(folder)}
    again, new = sorted(before)[0], made(folder, "grasp", 55.0).name
    unpack(folder / again)
    changed = before[again] | {"kept": 7}
    files.write_text(folder / again / "result.json", files.result_text(changed))
    (folder / again / "history.csv").unlink()  # so the packed one is kept
    histories = packed.histories(folder, files.HISTORY_COLUMNS)
    assert pack(folder) == sorted([*before, new])
    for name in (again, new):
        shutil.rmtree(folder / name)
    found = {name: files.read_result(folder / name / "result.json") for name in names(folder)}
    assert found.pop(new)["final"]["top1"] == 55.0 and found == before | {again: changed}
    packed_now = packed.histories(folder, files.HISTORY_COLUMNS)
    assert len(packed_now.pop(new)) == 1 and packed_now == histories


def test_what_an_unfinished_repetition_left_does_not_count(folder):
    """The run is finished by its pack, and so is its history."""
    before, name = raw(folder), names(folder)[0]
    (folder / name).mkdir()
    rows = [ROW | {"seconds": 7.0}]
    files.write_rows(folder / name / "history.csv", files.HISTORY_COLUMNS, rows)
    pack(folder)
    shutil.rmtree(folder / name)
    assert raw(folder) == before


@pytest.mark.parametrize(
    ("name", "usual", "other"),
    [("result.json", b"\n  ", b"\n    "), ("history.csv", b"\r\n", b"\n")],
)
def test_a_file_that_would_not_come_back_is_named_and_nothing_is_written(
    folder, name, usual, other
):
    """Equal numbers, but other bytes: an indentation of four, or other ends of lines."""
    before, path = raw(folder), made(folder, "grasp", 55.0) / name
    path.write_bytes(path.read_bytes().replace(usual, other))
    with pytest.raises(ValueError) as error:
        pack(folder)
    assert str(error.value) == f"{path} cannot be packed: it is not as `run` writes it"
    shutil.rmtree(path.parent)
    assert raw(folder) == before


def test_a_history_without_rows_cannot_be_packed(folder):
    path = made(folder, "grasp", 55.0) / "history.csv"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(ValueError, match=r"history\.csv cannot be packed"):
        pack(folder)


# Whoever reads runs reads packs


def test_the_folder_and_its_pack_are_one_set_of_runs(folder):
    """A run's own folder counts where there are both."""
    own, new = names(folder)[1], made(folder, "grasp", 55.0).name
    unpack(folder / own)
    changed = files.read_result(folder / own / "result.json") | {"kept": 7}
    files.write_text(folder / own / "result.json", files.result_text(changed))
    (folder / own / "history.csv").write_text("another history")
    before = raw(folder / own)
    assert unpack(folder / own) and raw(folder / own) == before
    found = {found["directory"].name: found for found in collect.runs(folder)}
    assert list(found) == names(folder) == sorted(found) and len(found) == 4
    assert found[own]["kept"] == 7 and found[new]["final"]["top1"] == 55.0
    assert files.finished(folder, "*-grasp-*") == [folder / new / "result.json"]


def test_tables_are_the_same_from_a_pack(tmp_path):
    for pruner, top1 in (("synflow", 80.0), ("magnitude", 70.0)):
        made(tmp_path, pruner, top1)
    before = accuracies(tmp_path, ["synflow", "magnitude"])
    only_packed(tmp_path)
    assert accuracies(tmp_path, ["synflow", "magnitude"]) == before and "80.0" in before


def test_a_sweep_takes_packed_runs_as_finished(tmp_path, finished):
    config, other = of_config(tmp_path, finished), configured(tmp_path, seed=1)
    took = sum(files.read_result(finished / "result.json")["seconds"].values())
    first, second = plan([config, other], 1)["runs"]
    assert (first["state"], second["state"]) == ("finished", "to do")
    assert first["seconds"] == pytest.approx(took + 1)  # and a second to build the network
    assert summary([config, other])[0]["seeds"] == "1/2"


def test_a_packed_run_is_not_repeated_and_gets_its_files_back(tmp_path, finished, nothing_is_built):
    config = of_config(tmp_path, finished)
    assert run(config) == config.directory / "result.json"
    whole = raw(finished)
    expected = {name: whole[name] for name in ("result.json", "history.csv")}
    assert raw(config.directory) == expected


def test_the_last_line_of_run_is_the_path_of_the_unpacked_result(tmp_path, finished):
    config = of_config(tmp_path, finished)
    options = ("--steps", 3, "--epochs", 2, "--device", "cpu", "--results", tmp_path)
    outcome = CliRunner().invoke(main, ["run", *map(str, options)])
    path = config.directory / "result.json"
    assert outcome.exit_code == 0 and outcome.stdout.splitlines()[-1] == f"result: {path}"
    assert path.read_bytes() == (finished / "result.json").read_bytes()


def test_packed_cycles_are_not_repeated_either(tmp_path, nothing_is_built):
    config = configured(tmp_path, pruner="magnitude", cycles=2, steps=None)
    made(tmp_path, "magnitude", 70.0, config=config.decisive).rename(config.directory)
    only_packed(tmp_path)
    assert imp(config) == config.directory / "result.json" and unpack(config.directory)


@pytest.mark.parametrize("name", ["inspect", "export"])
def test_masks_and_layers_are_not_in_a_pack(tmp_path, finished, name):
    config = of_config(tmp_path, finished)
    outcome = CliRunner().invoke(main, [name, str(config.directory)])
    text = f"Error: {config.directory / 'layers.csv'} is not there: packs hold results only; "
    assert outcome.exit_code == 1 and outcome.output.startswith(text)


def test_a_run_folder_whose_result_has_gone_into_the_pack_is_whole(tmp_path, finished, monkeypatch):
    """Git deletes the two files that a project has packed, and leaves the others of a user."""
    config = of_config(tmp_path, finished)
    shutil.copytree(finished, config.directory)
    whole = CliRunner().invoke(main, ["inspect", str(config.directory)])
    for name in ("result.json", "history.csv"):
        (config.directory / name).unlink()
    monkeypatch.chdir(config.directory)
    for directory in (str(config.directory), "."):
        outcome = CliRunner().invoke(main, ["inspect", directory])
        assert outcome.exit_code == 0 and outcome.output == whole.output
    assert state(config) == "finished"


def test_a_pack_is_parsed_once_for_each_version_of_it(folder, monkeypatch):
    reads = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read(path))
    paths = files.finished(folder)
    for path in 3 * paths:
        files.read_result(path)["config"]["seed"] = "changed by its reader"
    assert len(reads) <= 1
    assert all(files.read_result(path)["config"]["seed"] == 0 for path in paths)
    text = (folder / "runs.jsonl").read_text()
    times = (folder / "runs.jsonl").stat()
    (folder / "runs.jsonl").write_text(text.replace('"seed": 0', '"seed": 7'))
    os.utime(folder / "runs.jsonl", ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert all(files.read_result(path)["config"]["seed"] == 7 for path in paths)
    assert len(reads) <= 2


# The command


def test_the_command_packs_each_folder_in_silence(tmp_path, capfd):
    for name in ("a", "b"):
        made(tmp_path / name, "synflow", 80.0)
    command([str(tmp_path / "a"), str(tmp_path / "b")])
    assert all((tmp_path / name / "runs.jsonl").exists() for name in ("a", "b"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("folders", "text"),
    [([], "usage: python -m experiments.runs.pack"), (["none"], "Error: no finished run is in ")],
)
def test_the_command_ends_by_one_sentence(tmp_path, folders, text):
    with pytest.raises(SystemExit) as end:
        command([str(tmp_path / folder) for folder in folders])
    assert end.value.code.startswith(text) and not list(tmp_path.iterdir())


# What is committed


def committed() -> dict[str, str]:
    """The files of all packed runs of this project, path -> text."""
    found = {}
    for folder in COMMITTED:
        histories = packed.histories(ROOT / "results" / folder, files.HISTORY_COLUMNS)
        for name in packed.names(ROOT / "results" / folder):
            content = files.read_result(ROOT / "results" / folder / name / files.RESULT)
            for file, text in unpacked(content, histories.get(name, [])).items():
                found[f"results/{folder}/{name}/{file}"] = text
    return found


def test_the_packs_give_back_the_files_that_were_committed_before():
    """A digest over result.json and history.csv of all 856 runs, made from those files.

    Runs that are added to these folders change it, and so did the new names of those of GraSP,
    which became `grasp-text`; nothing else does.
    """
    digest = hashlib.sha256()
    found = committed()
    for path in sorted(found):
        digest.update(f"{path}\0{found[path]}\0".encode())
    assert len(found) == 2 * 856
    assert digest.hexdigest() == "1e5955b83caa3212f0b97eb7dc081e468dc88af85e2108c90f09a53684604cb9"
