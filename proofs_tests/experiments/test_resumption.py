"""Resumption of runs that were killed, had no disk space or find damaged files.

Either the run goes on to the result of an undisturbed run, or it ends with an error that names
the cause. No file is lost or overwritten.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import experiments.runs.run as module
from experiments.config import RunConfig
from experiments.runs.files import owned, read_rows, write_rows
from experiments.runs.owners import signed
from experiments.runs.run import run
from proofs_tests.tools.runs import ONE_THREAD, Killed, Killer, command, configured, files, raw

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=8)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=3))
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_end(tmp_path_factory, finished, stops):
    """It is stopped several times, each between two steps of pruning or of training."""
    config = configured(tmp_path_factory.mktemp("stopped"))
    for at in stops:
        try:
            run(config, Killer(at))
        except Killed:
            assert not (config.directory / "result.json").exists()
    assert files(run(config).parent) == files(finished)


WRITES = ["layers.csv", "steps.csv", "masks.npz", "untrained.json", "checkpoint.pt"]
WRITES += ["history.csv", "result.json"]


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_stops_a_run_and_loses_nothing(tmp_path, finished, monkeypatch, name):
    """For each file that cannot be written: one error, and the same command goes on later."""
    os_replace = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(28, "No space left on device", str(target))
        os_replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    config = configured(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        run(config)
    monkeypatch.undo()
    assert not (config.directory / name).exists()
    assert files(run(config).parent) == files(finished)


def wait_for(condition, process: subprocess.Popen) -> None:
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    pytest.fail("it took more than a minute")


@pytest.fixture
def started() -> Iterator:
    """A function that starts a command in a folder; at the end running commands are killed."""
    running = []

    def start(arguments: list[str], folder: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=ONE_THREAD,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


SLOW = ["--epochs", "4", "--batch-size", "8", "--lr", "0.01", "--steps", "3"]


def test_what_a_killed_process_has_left_half_written_is_removed(tmp_path):
    config = configured(tmp_path)
    names = ("checkpoint.host-7.part.pt", ".trained.host-7.part", "cycle-1/masks.host-7.part.npz")
    left = [config.directory / name for name in names]
    mine = config.directory / "my.parts.txt"
    for path in (*left, mine):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run(config)
    assert not any(path.exists() for path in left) and mine.exists()


@pytest.mark.slow
def test_kill_9_in_mid_epoch_and_the_same_command_again(tmp_path, factory, started):
    """Its files equal those of an uninterrupted run; while it runs, no other process may do so."""
    given = {"epochs": 4, "batch_size": 8, "lr": 0.01, "compression": 4.0, "model": factory}
    whole = files(run(configured(tmp_path / "whole", **given)).parent)

    line = command(tmp_path / "killed", "--model", factory, "--compression", "4", *SLOW)
    config = configured(tmp_path / "killed", **given)
    process = started(line, tmp_path)
    wait_for((config.directory / "history.csv").exists, process)
    with pytest.raises(BlockingIOError) as error:
        run(config)
    assert str(error.value) == f"another process is working on {config.directory}"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (config.directory / "result.json").exists()

    assert files(config.directory)["masks.npz"] == whole["masks.npz"]
    again = subprocess.run(
        line, cwd=tmp_path, env=ONE_THREAD, capture_output=True, text=True, check=True
    )
    assert again.stdout.splitlines()[-1] == f"result: {config.directory / 'result.json'}"
    assert "pruning" not in again.stderr
    assert {k: v for k, v in files(config.directory).items() if ".part" not in k} == whole


def test_a_finished_run_is_not_repeated(finished, nothing_is_built):
    before = raw(finished)
    assert run(configured(finished.parent)) == finished / "result.json"
    assert raw(finished) == before


def test_saved_masks_are_not_made_again(tmp_path, finished, monkeypatch):
    config = configured(tmp_path)
    with pytest.raises(Killed):
        run(config, Killer(8))
    assert (config.directory / "masks.npz").exists()
    monkeypatch.setattr(module, "prune", lambda *_, **__: pytest.fail("pruned again"))
    assert files(run(config).parent) == files(finished)


# ---- places and files that are not as they should be ----------------------------------------


def test_a_results_folder_that_cannot_be_made(tmp_path, nothing_is_built):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "file"))):
        run(configured(tmp_path / "file" / "results"))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_results_folder_without_permission(tmp_path, nothing_is_built):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        run(configured(tmp_path / "locked"))


def test_a_run_that_another_process_holds(tmp_path, nothing_is_built):
    config = configured(tmp_path)
    with owned(config.directory), pytest.raises(BlockingIOError, match="another process"):
        run(config)
    assert os.listdir(config.directory) == [".lock"]


def stopped(folder: Path, **given) -> RunConfig:
    """A run that was stopped in its second epoch."""
    config = configured(folder, **given)
    with pytest.raises(Killed):
        run(config, Killer(35))
    assert (config.directory / "checkpoint.pt").exists()
    return config


DAMAGE = {
    "empty": lambda content: b"",
    "torn": lambda content: content[: len(content) // 2],
    "bit": lambda content: (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 0x80])
        + content[len(content) // 2 + 1 :]
    ),
    "text": lambda content: b"something else\n",
}


@pytest.mark.parametrize("name", ["masks.npz", "steps.csv", "untrained.json", "checkpoint.pt"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_stops_an_unfinished_run_and_is_kept(tmp_path, name, damage):
    """One sentence names the file; no file of the run is changed."""
    config = stopped(tmp_path)
    path = config.directory / name
    path.write_bytes(damage(path.read_bytes()))
    before = raw(config.directory)
    with pytest.raises(ValueError) as error:
        run(config)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert raw(config.directory) == before


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_history_is_made_again_from_the_checkpoint(tmp_path, finished, damage):
    config = stopped(tmp_path)
    path = config.directory / "history.csv"
    path.write_bytes(damage(path.read_bytes()))
    assert files(run(config).parent) == files(finished)


@pytest.mark.parametrize("name", ["masks.npz", "untrained.json", "checkpoint.pt"])
@pytest.mark.parametrize("given", [{"seed": 1}, {"compression": 20}, {"scope": "local"}], ids=str)
def test_files_of_another_run_are_refused(tmp_path, name, given):
    """Also those of the right shape: the result would not belong to its configuration."""
    config, other = stopped(tmp_path), stopped(tmp_path / "other", **given)
    (config.directory / name).write_bytes((other.directory / name).read_bytes())
    before = raw(config.directory)
    with pytest.raises(ValueError) as error:
        run(config)
    assert str(config.directory / name) in str(error.value) and "\n" not in str(error.value)
    assert raw(config.directory) == before


def test_an_accuracy_of_another_training_of_this_run_is_refused(tmp_path):
    """The network is another one, the run's name the same."""
    path = stopped(tmp_path).directory / "untrained.json"
    content = json.loads(path.read_text())
    content = signed(content | {"start": "0" * 64}, path.name, {})
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"untrained.json is that of another training; move it"):
        run(configured(tmp_path))


def test_an_accuracy_of_0_before_training_is_read_and_one_of_another_kind_is_refused(tmp_path):
    config = stopped(tmp_path)
    path = config.directory / "untrained.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(signed(content | {"top1": "11"}, path.name, {})))
    with pytest.raises(ValueError, match=r"untrained.json is damaged: its top1 is of a wrong kind"):
        run(config)
    path.write_text(json.dumps(signed(content | {"top1": 0.0}, path.name, {})))
    assert json.loads(run(config).read_text())["untrained"]["top1"] == 0


RESULTS = {
    "empty": "",
    "torn": '{"config": {',
    "list": "[]",
    "number": "3",
    "null": "null",
    "fields": '{"config": {}, "kept": 3}',
    "binary": "\0\1",
}


@pytest.mark.parametrize("content", RESULTS.values(), ids=RESULTS)
def test_a_damaged_result_is_an_error_and_kept(tmp_path, nothing_is_built, content):
    config = configured(tmp_path)
    config.directory.mkdir()
    path = config.directory / "result.json"
    path.write_text(content)
    with pytest.raises(ValueError) as error:
        run(config)
    assert str(error.value).startswith(f"result file {path} is damaged")
    assert raw(config.directory) == {"result.json": content.encode()}


def test_a_result_that_is_no_text(tmp_path, nothing_is_built):
    config = configured(tmp_path)
    config.directory.mkdir()
    (config.directory / "result.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="is damaged"):
        run(config)


TORN_TABLES = {
    "header": "a,b\n",
    "other order": "kept,step\n1,2\n",
    "short row": "step,kept\n1\n",
    "long row": "step,kept\n1,2,3\n",
    "no number": "step,kept\n1,many\n",
    "nan": "step,kept\n1,nan\n",
    "infinite": "step,kept\n1,inf\n",
    "no whole number": "step,kept\n1.5,2\n",
    "no step": "step,kept\n,2\n",
    "quote": 'step,kept\n1,"2\n',
    "nothing": "",
}


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("content", TORN_TABLES.values(), ids=TORN_TABLES)
def test_tables_are_read_strictly(tmp_path, content, kind):
    path = tmp_path / "steps.csv"
    path.write_text(content)
    with pytest.raises(ValueError) as error:
        read_rows(path, {"step": int, "kept": kind})
    assert str(error.value).startswith(f"{path} is damaged: ")


@given(st.integers(), st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)))
def test_tables_come_back_as_written(tmp_path_factory, kept, R):
    """Values and types are equal to the last bit, and so are the bytes if written again."""
    path = tmp_path_factory.mktemp("table") / "t.csv"
    columns = {"name": str, "shape": str, "kept": int, "R": float}
    rows = [{"name": 'a, "b"', "shape": "3x4", "kept": kept, "R": R}]
    write_rows(path, columns, rows)
    found, content = read_rows(path, columns), path.read_bytes()
    assert repr(found) == repr(rows) and os.listdir(path.parent) == ["t.csv"]
    write_rows(path, columns, found)
    assert path.read_bytes() == content
