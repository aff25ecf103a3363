"""What the tests of runs share: configurations that take a second, and all of a run's files."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from experiments.config import RunConfig
from experiments.resolve import resolve
from proofs_tests.tools import ROOT
from train import checkpoint

N = 50_200  # prunable weights of 64-300-100-10
QUICK = {"steps": 3, "epochs": 2}
CPU = torch.device("cpu")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # as the fixture of that name


@contextmanager
def single_thread() -> Iterator[None]:
    """Another number of threads sums in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def configured(results: Path, **given) -> RunConfig:
    """The default run in three steps and two epochs."""
    return resolve({"results": str(results), "device": "cpu", **QUICK, **given})


def timeless(path: Path) -> object:
    """The content of a run's file without what is measured in seconds."""
    if path.name == "result.json":
        content = json.loads(path.read_text())
        return {key: value for key, value in content.items() if key != "seconds"}
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    if path.name == "checkpoint.pt":
        state = checkpoint.load(path, CPU)
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in state["history"]]
        return repr({**state, "history": rows})
    return path.read_bytes()


def files(directory: Path) -> dict[str, object]:
    """All of a run, timings aside."""
    torch.set_printoptions(precision=20, threshold=10**9)
    found = {path.name: timeless(path) for path in directory.iterdir() if path.is_file()}
    torch.set_printoptions(profile="default")
    return found


def raw(directory: Path) -> dict[str, bytes]:
    """All of a run, byte for byte."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def command(results: Path, *extra: str) -> list[str]:
    """The command line of a run, for a process of its own."""
    places = ("--results", str(results), "--device", "cpu")
    return [sys.executable, str(ROOT / "cli.py"), "run", *places, *extra]


class Killed(BaseException):
    """Not an Exception, as a kill would not be."""


class Killer:
    """A progress that ends the run at its n-th word."""

    def __init__(self, at: int):
        self.left = at

    def _word(self, *_: object) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    begin = tick = note = _word
