"""Models of all kinds: the caller's model is never changed, and masks are right or refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from proofs_tests.tools.draws import half_as_many
from proofs_tests.tools.kinds import Cached, Function, Kind, kinds, made, probe, state
from prune import SCORES, Probe, connected, effective, prunable, prune
from prune.diagnosis import diagnose
from prune.masks import kept, size
from prune.positive import flow_at_ends
from prune.scores import synaptic_flow


def attempt(task):
    """Do something that may be refused by one sentence."""
    try:
        return task()
    except (ValueError, FloatingPointError) as error:
        assert "\n" not in str(error)
        return None


@half_as_many
@given(st.lists(kinds, min_size=1, max_size=2), st.sampled_from(sorted(SCORES)), st.booleans())
def test_the_model_is_never_changed(names, score, training):
    """Pruning, paths and diagnosis leave every attribute of every module as it was."""
    model = made(*names).train(training)
    before = state(model)
    masks = attempt(lambda: prune(model, score, probe(), 2, steps=2))
    assert state(model) == before
    if masks is not None:
        connected(model, masks, (5, 6))
        effective(model, masks, (5, 6))
    attempt(lambda: diagnose(model, Probe((5, 6))))
    assert state(model) == before


@pytest.mark.parametrize("score", SCORES)
def test_a_model_that_raises_is_not_changed_either(score):
    def fails(x):
        if x.dtype == torch.float64:
            raise KeyError("two\nlines")
        return x

    model = Kind(nn.Sequential(Cached(), Function(fails))).train()
    before = state(model)
    for task in (
        lambda: prune(model, score, probe(), 2),
        lambda: diagnose(model, Probe((5, 6))),
        lambda: connected(model, {}, Probe((5, 6))),
    ):
        attempt(task)
        assert state(model) == before


@given(st.lists(kinds, min_size=1, max_size=2))
def test_synflow_reads_any_model_as_a_positive_one(names):
    """Scores are not negative, flow is conserved (Theorem 2), and counts are exact."""
    model = made(*names)
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(model).items()}
    R, scores = synaptic_flow(model, masks, Probe((5, 6)))
    at_input, at_output = flow_at_ends(model, masks, Probe((5, 6)))
    assert at_output == pytest.approx(R, rel=1e-12)
    assert at_input == pytest.approx(R, rel=1e-9)
    assert all((S >= 0).all() for S in scores.values())
    assert scores["first.weight"].sum().item() == pytest.approx(R, rel=1e-9)  # each path once
    assert scores["last.weight"].sum().item() == pytest.approx(R, rel=1e-9)
    left = prune(model, "synflow", Probe((5, 6)), 2, steps=10)
    assert kept(left) == -(-size(left) // 2)
    assert connected(model, left, (5, 6))


@given(st.lists(kinds, min_size=1, max_size=2))
def test_effective_weights_are_those_with_flow(names):
    """A weight lies on a path exactly if its score is positive, away from max-pooling."""
    model = made(*names)
    masks = prune(model, "random", probe(), 3)
    on_path = effective(model, masks, (5, 6))
    scores = synaptic_flow(model, masks, Probe((5, 6))).scores
    for name, mask in on_path.items():
        assert torch.equal(mask, (scores[name] > 0) & masks[name])
