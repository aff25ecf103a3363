"""Sanity ablations: each changes one part of pruning only. Also: weights are recorded."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.resolve import resolve
from experiments.runs import files as results
from experiments.runs.build import initial_model
from experiments.runs.run import run
from proofs_tests.tools.factories import small
from prune import SCORES, Probe, load_masks, prune
from prune.ablation import inverted, shuffled

FAST = {"width": 0.2, "epochs": 1, "compression": 10}


@st.composite
def masks(draw):
    """Masks of two tensors, none of them all True or all False."""
    bits = st.lists(st.booleans(), min_size=12, max_size=12).filter(lambda b: 0 < sum(b) < 12)
    return {name: torch.tensor(draw(bits)).view(3, 4) for name in ("a", "b")}


@given(masks(), st.integers(0, 2**31))
def test_shuffle_keeps_the_count_of_each_tensor(masks, seed):
    again = shuffled(masks, torch.Generator().manual_seed(seed))
    assert {n: m.sum() for n, m in again.items()} == {n: m.sum() for n, m in masks.items()}
    assert all(m.shape == masks[n].shape and m.dtype == torch.bool for n, m in again.items())


def test_shuffle_puts_the_kept_weights_anywhere_with_equal_chances():
    mask = {"a": torch.arange(8) < 2}
    generator = torch.Generator().manual_seed(0)
    hits = sum(shuffled(mask, generator)["a"].long() for _ in range(4000))
    assert (hits - 1000).abs().max() < 150  # five standard deviations of a binomial count


@pytest.mark.parametrize("name", ["magnitude", "snip", "grasp", "synflow"])
def test_invert_keeps_what_the_score_ranks_lowest(name):
    """Two masks of 2N/3 weights each share N/3 of them, as few as possible."""
    torch.manual_seed(0)
    model = small(10)
    probe = Probe((1, 8, 8), [(torch.randn(32, 1, 8, 8), torch.arange(32) % 10)])
    usual = prune(model, name, probe, 1.5, steps=1)
    spoilt = prune(model, inverted(SCORES[name]), probe, 1.5, steps=1)
    N = sum(mask.numel() for mask in usual.values())
    both = sum(int((usual[n] & spoilt[n]).sum()) for n in usual)
    # each count is rounded up, and both masks keep weights that score 0
    assert abs(both - N / 3) <= 2 + (name != "magnitude") * zero_scores(model, name, probe)


def zero_scores(model, name, probe) -> int:
    """The number of scores that are 0: they tie, so both masks keep the earlier."""
    masks = {
        n: torch.ones_like(w, dtype=torch.bool) for n, w in model.named_parameters() if w.ndim > 1
    }
    return sum(int((S == 0).sum()) for S in SCORES[name](model, masks, probe).values())


def test_invert_copes_with_scores_of_zero_and_keeps_those_weights_longest():
    """The weights of a dead unit score 0. 1/S would be infinite; -S = 0 is the highest score."""
    torch.manual_seed(0)
    model = small(10)
    with torch.no_grad():
        model[1].weight[3] = 0
    masks = prune(model, inverted(SCORES["synflow"]), Probe((1, 8, 8)), 576 / 74, steps=1)
    assert masks["1.weight"][3].all() and masks["3.weight"][:, 3].all()  # 64 + 10 weights


def test_inverted_synflow_prunes_step_by_step_to_the_exact_count(tmp_path):
    """The last path closes early; after that all remaining weights score 0."""
    config = resolve({"ablate": "invert", "epochs": 0, "width": 0.2, "results": str(tmp_path)})
    result = json.loads(run(config).read_text())
    assert result["kept"] == -(-result["prunable"] // 10) and not result["connected"]
    assert result["max_prune_cut_ratio"] is None


def pruned(tmp_path, **options):
    """The result and the masks of a run."""
    path = run(resolve(FAST | options | {"results": str(tmp_path)}))
    return json.loads(path.read_text()), load_masks(path.parent / results.MASKS)


def test_a_shuffled_run_changes_the_mask_and_keeps_each_layers_count(tmp_path):
    usual, masks = pruned(tmp_path)
    spoilt, shuffled_masks = pruned(tmp_path, ablate="shuffle")
    assert usual["density"] == spoilt["density"]
    assert all((masks[name] != shuffled_masks[name]).any() for name in masks)
    assert spoilt["max_prune_cut_ratio"] is None  # Theorem 4 holds for the masks before the shuffle
    assert usual["final"] != spoilt["final"]


def test_a_reinitialised_run_trains_other_weights_under_the_same_masks(tmp_path):
    usual, masks = pruned(tmp_path)
    spoilt, same_masks = pruned(tmp_path, ablate="reinit")
    assert all(torch.equal(masks[name], same_masks[name]) for name in masks)
    assert usual["untrained"] != spoilt["untrained"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"ablate": "shuffle", "compression": 1}, "does nothing with --compression 1"),
        ({"ablate": "reinit", "epochs": 0}, "does nothing with --epochs 0"),
        ({"ablate": "invert", "schedule": "certified"}, "certified"),
        ({"ablate": "shake"}, "must be one of shuffle, reinit, invert"),
        ({"record_weights": True, "epochs": 0}, "--record-weights does nothing with --epochs 0"),
    ],
)
def test_an_ablation_that_means_nothing_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        resolve(options)


def test_recorded_weights_are_those_of_each_epoch_and_survive_an_interruption(tmp_path):
    config = resolve(FAST | {"record_weights": True, "epochs": 2, "results": str(tmp_path / "a")})
    run(config)
    rows = results.read_rows(config.directory / results.WEIGHTS, results.WEIGHT_COLUMNS)
    names = list(dict(initial_model(config).named_parameters()))[::2]
    expected = [(epoch, name) for epoch in range(3) for name in names]
    assert [(row["epoch"], row["name"]) for row in rows] == expected
    trained = torch.load(config.directory / results.CHECKPOINT)["model"]
    for row in rows[-3:]:
        assert float(row["mean_square"]) == trained[row["name"]].double().square().mean().item()
    for name, lost in (("b", False), ("c", True)):
        assert rows == interrupted(replace(config, results=str(tmp_path / name)), lost)


def interrupted(config, lost: bool) -> list[dict]:
    """The rows of a run that is stopped after an epoch and continued; `lost`: without its file."""

    class Stop(Exception):
        pass

    class Listener:
        def begin(self, label, length): ...

        def tick(self, count=1): ...

        def note(self, text):
            if text.startswith("epoch 1"):
                if lost:
                    (config.directory / results.WEIGHTS).unlink()
                raise Stop

    with pytest.raises(Stop):
        run(config, Listener())
    run(config)
    return results.read_rows(config.directory / results.WEIGHTS, results.WEIGHT_COLUMNS)
