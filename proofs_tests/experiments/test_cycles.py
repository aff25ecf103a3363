"""Files of the finished cycles of `imp`: checked like those of a run."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from experiments.config import RunConfig
from experiments.runs.imp import imp
from proofs_tests.tools.runs import configured, files

pytestmark = pytest.mark.usefixtures("one_thread")
LAST = ("result.json", "checkpoint.pt", "history.csv", ".trained")


def cycled(folder: Path, **given) -> RunConfig:
    return configured(folder, **{"steps": None, "cycles": 2, "epochs": 1, **given})


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> dict[int, Path]:
    """Seed -> the folder of a finished run, to be read only."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("imp")
    return {seed: imp(cycled(folder / str(seed), seed=seed)).parent for seed in (0, 1)}


@pytest.fixture
def stopped(tmp_path, done) -> RunConfig:
    """A run that was stopped in its final training."""
    config = cycled(tmp_path)
    shutil.copytree(done[0], config.directory)
    for name in LAST:
        (config.directory / name).unlink()
    return config


def refused(config: RunConfig, path: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        imp(config)
    assert "\n" not in str(error.value) and not (config.directory / "result.json").exists()
    return str(error.value)


@pytest.mark.parametrize("name", ["masks.npz", "cycle.json", "checkpoint.pt", "history.csv"])
@pytest.mark.parametrize("source", [(1, 2), (0, 1)], ids=["another seed", "another cycle"])
def test_a_file_of_another_training_is_refused(stopped, done, name, source):
    seed, cycle = source
    path = stopped.directory / "cycle-2" / name
    shutil.copy(done[seed] / f"cycle-{cycle}" / name, path)
    refused(stopped, path)


@pytest.mark.parametrize("text", ["", '{"cycle": 1, "untr', "{}", "[]", "null", "[" * 10**5])
def test_an_entry_that_is_none(stopped, text):
    path = stopped.directory / "cycle-1" / "cycle.json"
    path.write_text(text)
    assert "is damaged: " in refused(stopped, path)


def test_a_changed_number_of_an_entry(stopped):
    path = stopped.directory / "cycle-1" / "cycle.json"
    content = json.loads(path.read_text())
    content["final"]["top1"] += 1
    path.write_text(json.dumps(content))
    assert "its check sum is another" in refused(stopped, path)


@pytest.mark.parametrize("name", ["masks.npz", "checkpoint.pt", "cycle.json", "history.csv"])
def test_a_cycle_that_lacks_a_file_is_made_again(stopped, done, name):
    (stopped.directory / "cycle-2" / name).unlink()
    directory = imp(stopped).parent
    assert (
        json.loads((directory / "result.json").read_text())["final"]
        == (json.loads((done[0] / "result.json").read_text())["final"])
    )
    made, whole = files(directory / "cycle-2"), files(done[0] / "cycle-2")
    assert all(made[name] == whole[name] for name in ("masks.npz", "history.csv"))


def test_entries_of_older_versions_have_no_owner_and_no_sum(stopped, done):
    path = stopped.directory / "cycle-1" / "cycle.json"
    content = json.loads(path.read_text())
    del content["run"], content["sha256"]
    path.write_text(json.dumps(content))
    cycles = json.loads(imp(stopped).read_text())["cycles"]
    assert cycles == json.loads((done[0] / "result.json").read_text())["cycles"]
    assert not {"run", "sha256"} & set(cycles[1])
