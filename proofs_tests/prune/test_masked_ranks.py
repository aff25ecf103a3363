"""Masks on several ranks of torch.distributed: equal under DDP, sharded under FSDP."""

import json
import os
import subprocess
import sys

import pytest
import torch

from proofs_tests.tools import ROOT
from proofs_tests.tools.masked import half_of, network
from prune import share_masks

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
DIFFERENT = "rank {} and rank {} have different masks for the same weights: call masks = "


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The reports of two ranks, in their order."""
    folder = tmp_path_factory.mktemp("ranks")
    line = [*TORCHRUN, str(ROOT / "proofs_tests/tools/masked_rank.py"), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return [json.loads((folder / f"rank{i}.json").read_text()) for i in range(2)]


@pytest.mark.slow
def test_different_masks_are_refused(ranks):
    """Bug report 13. The later rank sees it at once, the first one after its first step."""
    first, second = (rank["replicated"] for rank in ranks)
    assert first["different"] == "none"
    assert first["step"].startswith(DIFFERENT.format(0, 1))
    assert second["different"].startswith(DIFFERENT.format(1, 0))
    assert "share_masks(masks)" in second["different"]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["same", "shared"])
def test_all_ranks_have_the_same_masks_and_weights(ranks, which):
    first, second = (rank["replicated"][which] for rank in ranks)
    assert first == second
    assert first["alive"] == 0
    assert first["masks"] == {n: m.int().tolist() for n, m in half_of(network()).items()}


@pytest.mark.slow
def test_a_rank_may_try_masks_alone(ranks):
    """Or be ahead of the others, in pruning step by step."""
    assert [rank["alone"] for rank in ranks] == [3 * ["none"]] * 2


@pytest.mark.slow
def test_sharding_after_apply_is_noticed(ranks):
    """Bug report 42."""
    said = "the model was sharded after apply: apply the masks once more"
    assert [rank["sharded"]["before"] for rank in ranks] == [said, said]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["after", "once more"])
def test_shards_are_held(ranks, which):
    """Three steps under FSDP2 are those of one process, to rounding; the masks can be read off."""
    for found in (rank["sharded"] for rank in ranks):
        assert found[f"alive, {which}"] == 0
        assert found[f"off, {which}"] < 1e-6
        assert found[f"read, {which}"]


def test_one_process_shares_with_itself():
    masks = half_of(network())
    found = share_masks(masks)
    assert found.keys() == masks.keys() and found is not masks
    assert all(torch.equal(found[name], mask) for name, mask in masks.items())
