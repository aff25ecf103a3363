"""Scores of data with the statistics of each batch in batch norm."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from proofs_tests.prune.test_grasp import published
from proofs_tests.prune.test_scores import CONTEXTS, assert_close, example, same, snapshot
from prune import SCORES, Probe, prunable, prune
from prune.masks import dense_masks
from prune.scores import READS_DATA

FIRST_ORDER = {
    "snip": torch.abs,
    "skeletonization": torch.neg,
    "taylor-fo": torch.square,
}


def trained_mode(model):
    """A float64 copy with batch norm in training mode, all else in eval mode."""
    model = copy.deepcopy(model).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    return model


def literal(score, model, masks, batches):
    """A score by its definition."""
    if score == "grasp":
        scores, norm = published(model, masks, batches)
        return {name: S * norm for name, S in scores.items()}
    if score == "grasp-text":
        parts = [published(model, masks, [batch], temperature=1) for batch in batches]
        return {name: sum(S[name] * norm for S, norm in parts) for name in masks}
    for inputs, labels in batches:
        F.cross_entropy(model(inputs), labels).backward()
    return {n: FIRST_ORDER[score](w.grad * w).detach() for n, w in prunable(model).items()}


@pytest.mark.parametrize("score", sorted(READS_DATA))
def test_scores_are_those_of_training_mode(score):
    """And not those of eval mode; dropout stays off."""
    model, masks, probe = example(torch.float64)
    model[0].bias.requires_grad_()
    double = tuple((x.double(), y) for x, y in probe.batches)
    probe = replace(probe, batches=double, batch_statistics=True)
    network = trained_mode(model)
    network.zero_grad(set_to_none=True)
    expected = literal(score, network, masks, double)
    found = SCORES[score](model, masks, probe)
    assert_close(found, expected)
    running = SCORES[score](model, masks, replace(probe, batch_statistics=False))
    assert not any(torch.allclose(found[name], running[name], rtol=1e-3) for name in masks)


@pytest.mark.parametrize("context", sorted(CONTEXTS))
@pytest.mark.parametrize("score", sorted(READS_DATA))
def test_no_trace_is_left(score, context):
    """The running statistics, their count and all modes are as they were."""
    model, masks, probe = example()
    with CONTEXTS[context]():
        before = snapshot(model)
        SCORES[score](model, masks, replace(probe, batch_statistics=True))
        assert same(before, snapshot(model))


@pytest.mark.parametrize("score", sorted(READS_DATA))
def test_a_model_without_batch_norm_is_refused(score):
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    batches = ((torch.randn(2, 3), torch.tensor([0, 1])),)
    with pytest.raises(ValueError, match=r"batch_statistics=True\) does nothing: the model has no"):
        prune(model, score, Probe((3,), batches, batch_statistics=True), 2)


@pytest.mark.parametrize("score", sorted(set(SCORES) - READS_DATA - {"random"}))
def test_scores_without_data_do_not_use_them(score):
    """SynFlow's is the eval-mode scale, whatever the probe says."""
    model, masks, probe = example()
    expected = SCORES[score](model, masks, probe)
    found = SCORES[score](model, dense_masks(model), replace(probe, batch_statistics=True))
    assert same(list(found.values()), list(expected.values()))
