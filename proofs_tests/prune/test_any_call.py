"""Calls of all kinds, losses and results: masks are right, or one sentence refuses them."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from proofs_tests.tools.kinds import CLASSES, state
from prune import SCORES, Probe, apply, prune
from prune.masks import dense_masks, kept, size


@dataclass
class Output:
    """A result as many libraries return it."""

    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Called(nn.Module):
    """Two inputs, by position or by name; ids of tokens; a result of any structure."""

    def __init__(self, wrap):
        super().__init__()
        self.embed, self.a, self.head = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.wrap = wrap

    def forward(self, ids, image=None, *, mask=None):
        h = self.embed(ids)
        h = self.a(h if mask is None else h * mask[..., None]).relu().mean(1)
        return self.wrap(self.head(h if image is None else h + image), h)


ids, image = torch.randint(9, (3, 7)), torch.randn(3, 6)
CALLS = {
    "ids": ids,
    "positional": (ids, image),
    "named": {"ids": ids, "image": image, "mask": torch.ones(3, 7)},
}
RESULTS = {
    "tensor": lambda y, h: y,
    "dataclass": lambda y, h: Output(y, h),
    "none": lambda y, h: (None, y),
    "dict": lambda y, h: {"logits": y, "hidden": h},
}


@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("score", ["synflow", "snip", "grasp", "magnitude"])
def test_any_call_and_any_result(score, call, result):
    torch.manual_seed(0)
    model, given = Called(RESULTS[result]), CALLS[call]
    labels = torch.randint(CALLS["ids"].shape[0], (3,))
    before = state(model)
    masks = prune(model, score, Probe(batches=[(given, labels)], example=given), 2)
    assert list(masks) == ["a.weight", "head.weight"]
    assert kept(masks) == size(masks) / 2
    assert state(model) == before
    apply(copy.deepcopy(model), masks)


def refused(why, model, score, probe, **options):
    with pytest.raises(ValueError, match=why) as caught:
        prune(model, score, probe, 2, **options)
    assert "\n" not in str(caught.value)


def test_which_output_holds_the_logits_is_decided_or_refused():
    """(features, logits) is ambiguous; a loss of one's own decides."""
    model = Called(lambda y, h: (h, y))
    labels = torch.randint(CLASSES, (3,))
    refused("several outputs may be the logits", model, "snip", Probe(batches=[(ids, labels)]))
    named = Probe(batches=[(ids, labels)], loss=lambda out, y: F.cross_entropy(out[1], y))
    alone = Called(lambda y, h: y)
    alone.load_state_dict(model.state_dict())
    masks = prune(model, "snip", named, 2)
    expected = prune(alone, "snip", Probe(batches=[(ids, labels)]), 2)
    assert all(torch.equal(masks[name], expected[name]) for name in expected)


@pytest.mark.parametrize("score", ["snip", "grasp", "taylor-fo", "skeletonization"])
def test_targets_of_a_regression_need_a_loss(score):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)), torch.randn(9, 6)
    for y in (x[:, :1], (x[:, :1] > 0).float()):
        refused("cross-entropy needs classes", model, score, Probe((6,), [(x, y)]))
    masks = prune(model, score, Probe((6,), [(x, x[:, :1])], loss=F.mse_loss), 2)
    assert kept(masks) == 18
    refused("must return one number", model, score, Probe((6,), [(x, x)], loss=lambda a, b: a))


def test_scores_without_information_are_refused():
    """All zero, and rounding noise."""
    torch.manual_seed(0)
    x, y = torch.randn(9, 6), torch.randint(CLASSES, (9,))
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES))
    total = Probe((6,), [(x, y)], loss=lambda out, y: out.softmax(-1).sum())
    refused("rounding noise", model, "snip", total)
    nn.init.zeros_(model[2].weight)
    refused("2.weight is 0 throughout", model, "snip", Probe((6,), [(x, y)]))
    refused("all scores of <lambda> are 0", model, lambda m, k, p: {
        name: torch.zeros_like(mask, dtype=torch.double) for name, mask in k.items()
    }, Probe((6,)))  # fmt: skip
    assert kept(prune(model, "synflow", Probe((6,)), 2)) == 25  # zeros are read as ones


@pytest.mark.parametrize("score", ["snip", "grasp", "taylor-fo"])
def test_scores_of_a_pruned_network_may_be_faint(score):
    """One path of twelve weights of 0.05 is left: its scores are tiny and equal (Theorem 1)."""
    model = nn.Sequential(*(nn.Linear(3, 3, bias=False) for _ in range(12)))
    for layer in model:
        nn.init.constant_(layer.weight, 0.05)
    probe = Probe((3,), [(torch.ones(2, 3), torch.tensor([0, 1]))])
    masks = {name: torch.zeros(3, 3, dtype=torch.bool) for name in dense_masks(model)}
    for mask in masks.values():
        mask[0, 0] = True
    faint = torch.stack([S[0, 0] for S in SCORES[score](model, masks, probe).values()])
    assert 0 < faint.abs().max() < 1e-12
    torch.testing.assert_close(faint, faint[:1].expand(12), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (lambda: Probe(64), r"sizes of one example, such as \(3, 32, 32\), not 64$"),
        (lambda: Probe((1.5,)), r"sizes of one example, .* not \(1\.5,\)$"),
        (lambda: (64,), r"must be a Probe, such as .*, not \(64,\)$"),
        (lambda: None, "must be a Probe, such as .*, not None$"),
    ],
)
@pytest.mark.parametrize("score", ["synflow", "synflow-l2", "magnitude"])
def test_what_is_no_probe_is_refused_in_a_sentence(probe, words, score):
    with pytest.raises(ValueError, match=words):
        prune(torch.nn.Linear(64, 2), score, probe(), compression=2)
