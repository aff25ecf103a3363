"""Results folders that are packed."""

import json
import shutil
from pathlib import Path

from experiments.config import RunConfig
from experiments.runs import files
from experiments.runs.pack import pack
from proofs_tests.tools.runs import configured, raw
from proofs_tests.tools.sweeps import result

ROW = {"epoch": 1, "lr": 0.1, "train_loss": 0.5, "test_loss": 1 / 3, "top1": 90.1, "top5": 99.0}


def made(folder: Path, pruner: str, top1: float, **more) -> Path:
    """The directory of a run of one epoch, with files as `run` writes them."""
    directory = result(folder, pruner, 10, top1, **more)
    path = directory / "result.json"
    files.write_text(path, files.result_text(json.loads(path.read_text())))
    rows = [ROW | {"seconds": 1e-7 + top1}]
    files.write_rows(directory / "history.csv", files.HISTORY_COLUMNS, rows)
    return directory


def only_packed(folder: Path) -> dict[str, dict[str, bytes]]:
    """Pack a folder and delete its run folders; their files, name of the run -> name -> bytes."""
    before = {path.parent.name: raw(path.parent) for path in folder.glob("*/result.json")}
    pack(folder)
    for name in before:
        shutil.rmtree(folder / name)
    assert not list(folder.glob("*/"))
    return before


def of_config(folder: Path, finished: Path) -> RunConfig:
    """The configuration of the fixture's run in a folder that has only its pack."""
    config = configured(folder)
    assert config.directory.name == finished.name
    shutil.copytree(finished, config.directory)
    (config.directory / ".lock").unlink()
    only_packed(folder)
    return config


def three(folder: Path) -> Path:
    """Pack three runs in a folder that has nothing else; returns the folder."""
    for pruner, top1 in (("synflow", 80.0), ("magnitude", 70.0), ("random", 60.5)):
        made(folder, pruner, top1)
    only_packed(folder)
    return folder


def names(folder: Path) -> list[str]:
    """The names of the finished runs, sorted."""
    return [path.parent.name for path in files.finished(folder)]
