"""Checkpoints: whole or not at all, and nothing else is read as a checkpoint."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from proofs_tests.tools.same import same
from train import checkpoint

CPU = torch.device("cpu")
STATE = {
    "start": "abc",
    "model": {"weight": torch.arange(6.0).view(2, 3), "count": torch.tensor(7)},
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2, dtype=torch.float64)}}},
    "history": [{"epoch": 1, "top1": 12.5}],
}


@pytest.fixture
def path(tmp_path) -> Path:
    """A saved checkpoint."""
    checkpoint.save(STATE, tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt"


def refused(path: Path) -> bool:
    """Check the refusal: one sentence with the file, which is not changed."""
    before = path.read_bytes()
    with pytest.raises(ValueError) as error:
        checkpoint.load(path, CPU)
    text = str(error.value)
    named = text.startswith(f"checkpoint {path} is damaged (") and "\n" not in text
    return named and path.read_bytes() == before


def test_round_trip(path):
    assert same(checkpoint.load(path, CPU), STATE)
    assert os.listdir(path.parent) == ["checkpoint.pt"]


def test_no_file_is_no_checkpoint(tmp_path):
    assert checkpoint.load(tmp_path / "checkpoint.pt", CPU) is None


def crash(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["torch.save", "os.fsync", "os.replace"])
def test_a_crash_while_saving_leaves_the_old_checkpoint(path, monkeypatch, where):
    monkeypatch.setattr(where, crash)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(STATE | {"start": "new"}, path)
    monkeypatch.undo()
    assert same(checkpoint.load(path, CPU), STATE)
    checkpoint.save(STATE | {"start": "new"}, path)
    assert checkpoint.load(path, CPU)["start"] == "new"
    assert os.listdir(path.parent) == ["checkpoint.pt"]


def test_the_new_content_is_on_disk_before_it_takes_the_name(path, monkeypatch):
    """After a power cut there is no empty file: flush it, rename it, flush the folder."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("replace"), replace(*names)))
    checkpoint.save(STATE, path)
    assert calls == ["fsync", "replace", "fsync"]


def test_torn_anywhere(path):
    content = path.read_bytes()
    for length in [*range(0, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:length])
        assert refused(path), length


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_refused_or_changes_nothing(path, bit):
    """Also in the middle of a weight, where torch.load reports no error."""
    content = path.read_bytes()
    caught = 0
    for position in range(bit, len(content), 13):
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        path.write_bytes(changed)
        try:
            assert same(checkpoint.load(path, CPU), STATE), position
        except ValueError:
            caught += 1
    assert caught > 50


class Code:
    """An object whose unpickling runs code."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


FOREIGN = {
    "text": lambda path: path.write_text("epoch 3\n"),
    "empty": lambda path: path.write_bytes(b""),
    "pickle": lambda path: path.write_bytes(pickle.dumps(STATE["history"])),
    "code": lambda path: torch.save(STATE | {"history": Code()}, path),
    "list": lambda path: torch.save([1, 2], path),
    "tensor": lambda path: torch.save(torch.ones(3), path),
    "weights": lambda path: torch.save(STATE["model"], path),
    "old format": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN)
def test_other_files_are_refused_and_no_code_in_them_runs(path, write, monkeypatch):
    monkeypatch.chdir(path.parent)
    write(path)
    assert refused(path) and os.listdir() == ["checkpoint.pt"]


# ---- fingerprints ---------------------------------------------------------------------------


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_fingerprint_differs_with_whatever_a_training_starts_from():
    """Names, weights, signs of zeros, buffers, and the facts beside them."""
    seen = {checkpoint.fingerprint(network(), "recipe", 0)}
    assert checkpoint.fingerprint(network(), "recipe", 0) in seen

    def changed(change) -> str:
        other = network()
        change(other)
        return checkpoint.fingerprint(other, "recipe", 0)

    seen.add(checkpoint.fingerprint(network(), "recipe", 1))
    seen.add(checkpoint.fingerprint(network(), "other", 0))
    seen.add(changed(lambda net: net[0].weight.data[0, 0].add_(1e-6)))
    seen.add(changed(lambda net: net[0].weight.data[0, 0].zero_()))
    seen.add(changed(lambda net: net[0].weight.data[0, 0].zero_().neg_()))
    seen.add(changed(lambda net: net[1].running_mean[2].add_(1)))
    seen.add(changed(lambda net: net[1].num_batches_tracked.add_(1)))
    seen.add(changed(lambda net: net.append(nn.Linear(1, 1))))
    seen.add(checkpoint.fingerprint(nn.ModuleDict(dict(zip("ab", network()))), "recipe", 0))
    assert len(seen) == 10
