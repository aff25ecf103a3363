"""The plain loops of prune/pruning.py and the fast ones of prune/fast give the same masks."""

import os
import shutil
import subprocess
import sys
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proofs_tests.tools import ROOT
from proofs_tests.tools.draws import half_as_many
from proofs_tests.tools.torch_strategies import networks
from prune import Probe, prune
from prune.fast.small import SMALL
from prune.masks import dense_masks, size

# (schedule, scope, steps) of prune
WAYS = [
    ("exponential", "global", 6),
    ("linear", "global", 4),
    ("exponential", "local", 3),
    ("certified", "global", None),
]


def pruned(model, way, compression, *more):
    """The masks, and the `Step` of each step."""
    schedule, scope, steps = way
    seen = []
    masks = prune(model, *more, compression, steps, schedule, scope, report=seen.append)
    return masks, seen


@pytest.mark.parametrize("small", [0, SMALL])
@half_as_many
@given(networks(), st.sampled_from(WAYS), st.data())
def test_plain_and_fast_loops_agree_in_every_step(small, network, way, data):
    """Masks, counts, R and prune/cut ratios are equal, on networks without rounding."""
    with patch("prune.fast.algorithm.SMALL", small):
        assert_loops_agree(network, way, data)


def assert_loops_agree(network, way, data):
    N = size(dense_masks(network.model))
    compression = data.draw(st.integers(1, N))
    arguments = (network.model, way, compression, "synflow", Probe(network.shape))
    try:
        fast, steps = pruned(*arguments)
    except ValueError as refused:  # certified, where it would close the last path
        with patch("prune.pruning.fast", None), pytest.raises(ValueError) as plainly_refused:
            pruned(*arguments)
        assert str(plainly_refused.value) == str(refused)
        return
    with patch("prune.pruning.fast", None):
        plain, plain_steps = pruned(*arguments)
    assert all(torch.equal(fast[name], plain[name]) for name in fast)
    assert [(s.step, s.kept) for s in steps] == [(s.step, s.kept) for s in plain_steps]
    for a, b in zip(steps, plain_steps, strict=True):
        assert a.R == b.R and a.prune_cut_ratio == pytest.approx(b.prune_cut_ratio, rel=1e-12)
        assert all(torch.equal(a.masks[name], b.masks[name]) for name in fast)
        assert all(torch.equal(a.scores[name], b.scores[name]) for name in fast)


PRUNE = """
import sys
# The hook of an editable installation would find prune/fast of the checkout.
hooks = [f for f in sys.meta_path if getattr(f, "__module__", "").startswith("__editable__")]
sys.meta_path = [finder for finder in sys.meta_path if finder not in hooks]

import torch
from torch import nn
import prune.pruning
from prune import Probe, prune as find, save_masks

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 64, 10),
)
for way in (("exponential", 20), ("linear", 10), ("certified", None)):
    masks = find(net, "synflow", Probe((3, 16, 16)), 50, way[1], way[0])
    save_masks(masks, f"{sys.argv[1]}/{way[0]}.npz")
print("plain" if prune.pruning.fast is None else "fast")
"""


def test_the_same_masks_come_out_after_the_folder_fast_was_deleted(tmp_path):
    """Another process imports a copy of prune/ without it."""
    shutil.copytree(ROOT / "prune", tmp_path / "plain" / "prune", ignore=lambda *_: {"fast"})
    found = {}
    for name, folder in (("plain", tmp_path / "plain"), ("fast", ROOT)):
        (tmp_path / f"{name}-masks").mkdir()
        line = [sys.executable, "-W", "ignore", "-c", PRUNE, str(tmp_path / f"{name}-masks")]
        environment = os.environ | {"PYTHONPATH": str(folder)}
        ended = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert (ended.stdout, ended.stderr) == (f"{name}\n", "")
        files = sorted((tmp_path / f"{name}-masks").iterdir())
        found[name] = {file.name: file.read_bytes() for file in files}
    assert len(found["plain"]) == 3 and found["plain"] == found["fast"]
