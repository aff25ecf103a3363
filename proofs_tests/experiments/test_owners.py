"""Files that are damaged or of another run: one sentence with the path, and the rest goes on."""

import json
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from experiments.config import restore
from experiments.figures import collect
from experiments.runs import files
from experiments.runs.files import PassedOver, read_result
from experiments.runs.inspection import inspect
from experiments.runs.owners import SUMS
from experiments.runs.pack import pack
from experiments.runs.run import run
from experiments.sweeps.plan import plan
from experiments.sweeps.sweep import state
from proofs_tests.tools.runs import Killed, Killer, configured
from proofs_tests.tools.runs import files as contents

pytestmark = pytest.mark.usefixtures("one_thread")
EDITS = {
    "another accuracy": lambda r: r["final"].update(top1=9.0),
    "another count": lambda r: r.update(kept=r["kept"] - 1),
    "another training": lambda r: r[SUMS].update({"result.json": "0"}),
    "NaN": lambda r: r["final"].update(top1=float("nan")),
    "infinity": lambda r: r.update(compression=float("inf")),
    "no accuracy": lambda r: r["final"].pop("top1"),
    "config a list": lambda r: r.update(config=[]),
    "seconds a number": lambda r: r.update(seconds=3),
    "kept null": lambda r: r.update(kept=None),
    "connected 1": lambda r: r.update(connected=1),
    "density a text": lambda r: r["density"].update({"1.weight": "0.1"}),
    "lr_drops null": lambda r: r["config"].update(lr_drops=None),
    "seed a text": lambda r: r["config"].update(seed="0"),
    "no such data set": lambda r: r["config"].update(dataset="svhn"),
    "no such device": lambda r: r["config"].update(device="moon"),
    "sums a list": lambda r: r.update({SUMS: []}),
}
ONLY_BY_SUM = ("another accuracy", "another count", "another training", "sums a list")


@pytest.fixture
def copied(tmp_path, finished) -> Path:
    """A copy of a finished run under its own name."""
    return Path(shutil.copytree(finished, tmp_path / "results" / finished.name))


def edited(directory: Path, edit) -> Path:
    path = directory / "result.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def refused(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        read_result(path)
    assert str(error.value).startswith(f"result file {path} ") and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", EDITS)
def test_a_changed_result_is_refused_by_name(copied, name):
    assert "is damaged" in refused(edited(copied, EDITS[name]))


@pytest.mark.parametrize("name", sorted(EDITS.keys() - set(ONLY_BY_SUM)))
def test_results_of_older_versions_have_no_sum_and_their_kinds_are_checked(copied, name):
    path = edited(copied, lambda result: result.pop(SUMS))
    assert read_result(path)["kept"] == 5020
    refused(edited(copied, EDITS[name]))


@pytest.mark.parametrize("text", ["[" * 10**5 + "]" * 10**5, "{" * 10**5, "[]", "null"])
def test_json_that_is_no_result(copied, text):
    (copied / "result.json").write_text(text)
    refused(copied / "result.json")


def test_a_folder_in_the_place_of_a_result(copied):
    (copied / "result.json").unlink()
    (copied / "result.json").mkdir()
    refused(copied / "result.json")


def other_seed(directory: Path) -> Path:
    """Put the result of seed 1 in the place of a run's own."""
    config = restore(read_result(directory / "result.json")["config"])
    other = configured(directory.parent.parent / "other", seed=1, epochs=0)
    shutil.copy(run(other), directory / "result.json")
    assert config.seed == 0
    return directory / "result.json"


def test_the_result_of_another_seed_is_refused_and_the_others_are_drawn(copied):
    path = other_seed(copied)
    text = f"is that of {restore(json.loads(path.read_text())['config']).directory.name}, not of"
    assert text in refused(path)
    mine = configured(copied.parent)
    with pytest.raises(ValueError, match=text):
        run(mine)
    assert state(mine) == "failed" and plan([mine], 1)["runs"][0]["state"] == "failed"
    shutil.copytree(copied, copied.parent / "a name of the user's own")
    with pytest.warns(PassedOver, match=text):
        assert [r["directory"].name for r in collect.runs(copied.parent)] == [
            "a name of the user's own"
        ]


def test_a_packed_result_that_was_changed_is_refused(copied):
    pack(copied.parent)
    shutil.rmtree(copied)
    runs = copied.parent / "runs.jsonl"
    assert read_result(copied / "result.json")["kept"] == 5020
    runs.write_text(runs.read_text().replace('"kept": 5020', '"kept": 5021'))
    with pytest.raises(ValueError, match=r"runs.jsonl is damaged in line 1: its check sum"):
        read_result(copied / "result.json")


def changed(path: Path) -> None:
    """Change the last digit before the end of the first row."""
    lines = path.read_text().splitlines(True)
    digit = "1" if lines[1].rstrip()[-1] != "1" else "2"
    path.write_text("".join([lines[0], lines[1].rstrip()[:-1] + digit + "\n", *lines[2:]]))


@pytest.mark.parametrize("done", [True, False])
def test_a_changed_digit_of_the_layers_is_found(copied, done):
    path = copied / "layers.csv"
    changed(path)
    if not done:
        (copied / "result.json").unlink()
    with pytest.raises(ValueError, match=f"^{path} is not the table"):
        inspect(copied) if done else run(configured(copied.parent))


@pytest.mark.parametrize("name", ["layers.csv", "steps.csv", "masks.npz"])
def test_a_lost_file_of_an_unfinished_pruning_is_made_again(tmp_path, finished, name):
    config = configured(tmp_path)
    with pytest.raises(Killed):
        run(config, Killer(35))
    (config.directory / name).unlink()
    assert contents(run(config).parent) == contents(finished)
    assert inspect(config.directory).result["kept"] == 5020


def test_a_flipped_bit_in_the_name_of_the_owner_is_a_damaged_mask_file(copied):
    path = copied / "masks.npz"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("__run.npy")
    content = bytearray(path.read_bytes())
    lengths = struct.unpack_from("<HH", content, entry.header_offset + 26)
    content[entry.header_offset + 30 + sum(lengths) + entry.compress_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^mask file {path} is .*; move it away"):
        inspect(copied)


@pytest.mark.parametrize("name", ["layers.csv", "steps.csv", "masks.npz"])
def test_a_finished_run_that_has_lost_a_file_is_refused_with_a_cure(copied, finished, name):
    (copied / name).unlink()
    cure = "move result.json away, and the same command makes both again"
    with pytest.raises(FileNotFoundError, match=f"^{copied / name} is not there: {cure}$"):
        inspect(copied)
    (copied / "result.json").unlink()
    assert contents(run(configured(copied.parent)).parent) == contents(finished)


@pytest.mark.parametrize("name", ["masks.npz", "checkpoint.pt", "layers.csv"])
def test_inspect_names_a_file_of_another_run(copied, name):
    other = run(configured(copied.parent.parent / "other", seed=1)).parent
    shutil.copy(other / name, copied / name)
    if name == "checkpoint.pt":
        assert str(copied / name) in inspect(copied).compact
    else:
        with pytest.raises(ValueError, match=str(copied / name)):
            inspect(copied)


def test_recorded_weights_of_another_training_are_refused(tmp_path):
    mine, other = (configured(tmp_path, seed=seed, record_weights=True) for seed in (0, 1))
    for config in (mine, other):
        with pytest.raises(Killed):
            run(config, Killer(35))
    path = mine.directory / files.WEIGHTS
    shutil.copy(other.directory / files.WEIGHTS, path)
    with pytest.raises(ValueError, match=f"^{path} is that of another training"):
        run(mine)


# ---- code that a result file names ----------------------------------------------------------


@pytest.mark.parametrize("command", ["inspect", "export"])
def test_a_module_that_a_result_names_is_run_only_if_the_user_names_it(
    tmp_path, monkeypatch, command
):
    source = "from pathlib import Path\nfrom torch import nn\nPath('RAN').touch()\n"
    source += "def make(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    (tmp_path / f"trusted_{command}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"trusted_{command}:make"
    directory = run(configured(tmp_path / "results", model=name, epochs=0)).parent
    (tmp_path / "RAN").unlink()
    monkeypatch.delitem(sys.modules, f"trusted_{command}")
    outcome = CliRunner().invoke(cli.main, [command, str(directory)])
    assert outcome.exit_code == 1 and f"add --model {name}" in outcome.stderr
    assert not (tmp_path / "RAN").exists()
    outcome = CliRunner().invoke(cli.main, [command, str(directory), "--model", "os:abort"])
    assert outcome.exit_code == 1 and f"is {name}, not os:abort" in outcome.stderr
    assert CliRunner().invoke(cli.main, [command, str(directory), "--model", name]).exit_code == 0
    assert (tmp_path / "RAN").exists()
