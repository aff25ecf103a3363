"""Small networks of the kinds that `python -m benchmarks zoo` has found to fail."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune import Probe, connected, prune
from prune.fast.flow import synaptic_flow as fast
from prune.masks import dense_masks
from prune.scores import synaptic_flow, synflow

SHAPE = (3, 16, 16)


class Residual(nn.Module):
    """Adds to an activation: in place, as EfficientNetV2 does, or not."""

    def __init__(self, activation, in_place: bool):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.branch = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head, self.activation, self.in_place = nn.Linear(4, 5), activation, in_place

    def forward(self, x):
        x = self.stem(x)
        y = self.activation(self.branch(x))
        if self.in_place:
            y += x
        else:
            y = y + x
        return self.head(y.mean((2, 3)))


ACTIVATIONS = [F.silu, F.gelu, F.hardswish, F.relu6, F.mish, torch.sigmoid]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda f: f.__name__)
def test_an_activation_may_be_added_to_in_place(activation):
    """Its reading, ReLU, keeps its result for the backward pass, where the original does not."""
    probe = Probe(SHAPE)
    models = [Residual(activation, in_place) for in_place in (True, False)]
    scores = [synflow(model, dense_masks(model), probe) for model in models]
    assert all(torch.equal(S, scores[1][name]) for name, S in scores[0].items())
    masks = [prune(model, "synflow", probe, 4, steps=3) for model in models]
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())
    assert connected(models[0], masks[0], probe)


class TextAndImage(nn.Module):
    """Reads the ids of tokens beside an image, as CLIP does."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.text, self.head = nn.Embedding(10, 4), nn.Linear(4, 5)
        self.image = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, ids, image):
        return self.head(self.text(ids).mean(1) + self.image(image).mean((2, 3)))


@pytest.mark.parametrize("shape", [(1, 4), (1, 2, 2)])
def test_ids_may_stand_beside_an_image(shape):
    model, ids = TextAndImage(), torch.arange(4).reshape(shape)
    model.text.register_forward_hook(lambda *given: given[-1].reshape(1, 4, 4))
    probe, masks = Probe(example=(ids, torch.ones(1, *SHAPE))), dense_masks(model)
    found, expected = (f(model, masks, probe) for f in (fast, synaptic_flow))
    assert found.R == pytest.approx(expected.R, rel=1e-12)
    for name, scores in expected.scores.items():
        torch.testing.assert_close(found.scores[name], scores, rtol=1e-12, atol=0)
