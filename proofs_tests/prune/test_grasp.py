"""GraSP as its authors and the published code's head run it, and how it depends on the batches."""

import weakref

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from proofs_tests.prune.test_scores import assert_close, cases, twin
from prune import SCORES, Probe, prunable, prune
from prune.masks import dense_masks
from train.models import build

IMAGE = (3, 32, 32)


def published(model, masks, batches, temperature=200):
    """`GraSP.score` of ganguli-lab/Synaptic-Flow at its head, line for line, in float64.

    Its layers multiply weights by their masks in the forward pass.
    """
    weights = {name: w.detach().requires_grad_() for name, w in prunable(model).items()}

    def loss(data, target):
        masked = {name: masks[name] * w for name, w in weights.items()}
        output = functional_call(model, masked, (data,)) / temperature
        return F.cross_entropy(output, target)

    def flat_gradient(L, create_graph):
        grads = torch.autograd.grad(L, list(weights.values()), create_graph=create_graph)
        return torch.cat([g.reshape(-1) for g in grads])

    stopped_grads = 0
    for data, target in batches:
        stopped_grads += flat_gradient(loss(data, target), create_graph=False)
    for data, target in batches:
        flatten_grads = flat_gradient(loss(data, target), create_graph=True)
        gnorm = (stopped_grads * flatten_grads).sum()
        gnorm.backward()
    scores = {name: torch.clone(w.grad * masks[name] * w).detach() for name, w in weights.items()}
    norm = torch.abs(torch.sum(torch.cat([S.flatten() for S in scores.values()]))) + 1e-10
    return {name: S / norm for name, S in scores.items()}, norm


@given(cases())
def test_it_is_the_published_code(case):
    """Score for score but for the norm that they divide by: also masked, in unequal batches."""
    model, masks, probe = case
    theirs, norm = published(twin(model, masks), masks, probe.batches)
    ours = SCORES["grasp"](model, masks, probe)
    assert_close({name: S / norm for name, S in ours.items()}, theirs)


def vgg11():
    """A seeded VGG-11 of an eighth of the width, and 16 images."""
    torch.manual_seed(0)
    model = build("vgg11", IMAGE, 10, width=1 / 8).double().eval()
    return model, torch.randn(16, *IMAGE).double(), torch.arange(16) % 10


def split(images, labels, number):
    """The images in equal batches, as a probe."""
    batches = zip(images.chunk(number), labels.chunk(number), strict=True)
    return Probe(IMAGE, tuple(batches))


def differing(left, right):
    return sum(int((left[name] != right[name]).sum()) for name in left)


def test_masks_are_those_of_the_published_code():
    """Weight for weight, at compression 10 of a VGG-11."""
    model, images, labels = vgg11()
    probe = split(images, labels, 2)
    theirs, _ = published(model, dense_masks(model), probe.batches)
    masks = prune(model, "grasp", probe, 10)
    assert differing(masks, prune(model, lambda *_: theirs, probe, 10)) == 0


def test_equal_batches_give_one_mask_however_many():
    """The same images in 1 to 16 batches; by the letter of the text the masks differ."""
    model, images, labels = vgg11()
    masks = {
        score: [prune(model, score, split(images, labels, n), 10) for n in (1, 2, 4, 16)]
        for score in ("grasp", "grasp-text")
    }
    assert all(differing(masks["grasp"][0], other) == 0 for other in masks["grasp"])
    assert all(differing(masks["grasp-text"][0], other) > 100 for other in masks["grasp-text"][1:])


def small(activation=nn.Tanh):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), activation(), nn.Linear(4, 3)).double()
    batches = [(torch.randn(3, 5).double(), torch.tensor([0, 1, 2])) for _ in range(3)]
    return model, batches


@pytest.mark.parametrize(("loss", "temperature"), [(None, 200), (F.cross_entropy, 1)])
def test_finite_differences(loss, temperature):
    """H g by the change of the gradient along g, to 1e-6; a loss of the probe has temperature 1."""
    model, batches = small()
    theta = {name: w.detach() for name, w in prunable(model).items()}

    def gradient(t):
        t = {name: w.detach().requires_grad_() for name, w in t.items()}
        outputs = [(functional_call(model, t, (x,)), y) for x, y in batches]
        L = sum(F.cross_entropy(out / temperature, y) for out, y in outputs)
        return dict(zip(t, torch.autograd.grad(L, list(t.values())), strict=True))

    g, h = gradient(theta), 1e-4 * temperature
    ahead, behind = (gradient({n: theta[n] + s * g[n] for n in theta}) for s in (h, -h))
    S = SCORES["grasp"](model, dense_masks(model), Probe((5,), batches, loss=loss))
    expected = {n: (ahead[n] - behind[n]) / (2 * h) * theta[n] for n in theta}
    for name, E in expected.items():
        largest = E.abs().max().item()
        torch.testing.assert_close(S[name], E, rtol=1e-6, atol=1e-6 * largest)


@pytest.mark.parametrize("score", ["snip", "grasp", "grasp-text"])
def test_one_graph_is_held_at_a_time(score):
    """When a batch begins, nothing is left of the activations of the batches before."""
    seen, alive = [], []

    class Recorder(nn.Module):
        def forward(self, x):
            alive.append(sum(ref() is not None for ref in seen))
            seen.append(weakref.ref(x))
            return x

    model, batches = small()
    model.insert(2, Recorder())  # the layer after it holds x for its gradient
    SCORES[score](model, dense_masks(model), Probe((5,), batches))
    passes = 2 if score == "grasp" else 1
    assert alive == [0] * len(batches) * passes


def test_batches_that_can_be_read_only_once_are_refused():
    model, batches = small()
    with pytest.raises(ValueError, match="or an iterator that an earlier reading used up; give a"):
        prune(model, "grasp", Probe((5,), iter(batches)), 2)
    assert prune(model, "grasp-text", Probe((5,), iter(batches)), 2)
