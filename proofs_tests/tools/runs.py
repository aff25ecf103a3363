"""Helpers for tests of runs: configurations that take a second, and the files of a run."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from experiments.config import RunConfig
from experiments.resolve import resolve
from proofs_tests.tools import ROOT
from train import checkpoint, loop

N = 50_200  # prunable weights of 64-300-100-10
QUICK = {"steps": 3, "epochs": 2}
CPU = torch.device("cpu")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # the environment of a process


@contextmanager
def single_thread() -> Iterator[None]:
    """Use one thread in the block: another number of threads sums in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def configured(results: Path, **given) -> RunConfig:
    """The configuration of the default run, in three steps and two epochs."""
    return resolve({"results": str(results), "device": "cpu", **QUICK, **given})


@contextmanager
def interrupted_in(epoch: int) -> Iterator[None]:
    """Interrupt the training in the block, as Ctrl-C does, when this epoch begins."""
    whole, begun = loop.train_epoch, count(1)

    def train_epoch(*given):
        if next(begun) == epoch:
            raise KeyboardInterrupt
        return whole(*given)

    with patch.object(loop, "train_epoch", train_epoch), pytest.raises(KeyboardInterrupt):
        yield


def timeless(path: Path) -> object:
    """The content of a file of a run, without timings."""
    if path.name == "result.json":
        return repeatable(json.loads(path.read_text()))
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    if path.name == "checkpoint.pt":
        state = checkpoint.load(path, CPU)
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in state["history"]]
        return plain({**state, "history": rows})
    return path.read_bytes()


def plain(value: object) -> object:
    """The value with bytes in place of tensors, so that `==` compares all of it, bit by bit."""
    if isinstance(value, torch.Tensor):
        content = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), content
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def repeatable(result: dict) -> dict:
    """The part of result.json that is the same in identical runs: all but timings.

    The commit is left out, too: the checkout may change while the tests run.
    """
    versions = {k: v for k, v in result["versions"].items() if k not in ("commit", "dirty")}
    kept = {key: value for key, value in result.items() if key != "seconds"}
    return kept | {"versions": versions}


def files(directory: Path) -> dict[str, object]:
    """The contents of a run's files by name, without timings."""
    return {path.name: timeless(path) for path in directory.iterdir() if path.is_file()}


def epochs(directory: Path) -> list[dict[str, float]]:
    """The rows of a run's history, without times."""
    rows = timeless(directory / "history.csv")
    return [{name: float(text) for name, text in row.items()} for row in rows]


def raw(directory: Path) -> dict[str, bytes]:
    """The bytes of a run's files by name."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def command(results: Path, *extra: str) -> list[str]:
    """The command line of a run in a process of its own."""
    places = ("--results", str(results), "--device", "cpu")
    return [sys.executable, str(ROOT / "cli.py"), "run", *places, *extra]


class Killed(BaseException):
    """Stands for a kill, which `except Exception` does not catch either."""


class Killer:
    """A Progress whose call number `at`, counted from 0, ends the run."""

    def __init__(self, at: int):
        self.left = at

    def _count(self, *_: object) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    begin = tick = note = _count
