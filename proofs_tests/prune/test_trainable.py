"""`trainable`: the channels that no kept weight reads are removed, and no others."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune import Probe, apply, compact, masks_of, prune
from prune.compact import trainable
from train.models import build

CLASSES = 5


def test_after_synflow_the_part_is_hardly_larger_than_the_compact_network():
    """SynFlow empties both sides of a channel, so few constant channels are read (Theorem 1)."""
    torch.manual_seed(0)
    shape = (3, 32, 32)
    model = build("vgg11", shape, 10, 1 / 4)
    apply(model, prune(model, "synflow", Probe(shape), 100))
    small, _ = trainable(model, masks_of(model), torch.zeros(2, *shape))
    left = compact(model, torch.zeros(2, *shape))
    whole, trained, least = (sum(p.numel() for p in n.parameters()) for n in (model, small, left))
    assert least <= trained < 1.02 * least < whole / 10


def chain() -> nn.Sequential:
    """Three layers; neuron 0 of the hidden ones is not read, neuron 1 reads nothing."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    masks = {f"{i}.weight": torch.ones_like(model[i].weight, dtype=torch.bool) for i in (0, 2, 4)}
    masks["2.weight"][:, 0] = False
    masks["0.weight"][1] = False
    apply(model, masks)
    return model


def test_a_constant_channel_that_is_read_stays_and_an_unread_one_goes():
    """The bias of the constant one is trained; `compact` folds it."""
    model = chain()
    small, places = trainable(model, masks_of(model), torch.zeros(2, 4))
    assert (
        small[0].weight.shape == (4, 4) and compact(model, torch.zeros(2, 4))[0].out_features == 3
    )
    assert set(places) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert torch.equal(small[0].bias, model[0].bias[1:])
    assert torch.equal(masks_of(small)["0.weight"], masks_of(model)["0.weight"][1:])


def test_a_kept_weight_of_0_counts_as_read():
    model = chain()
    with torch.no_grad():
        model[2].weight[:, 2] = 0
        model[4].weight.zero_()
    small, _ = trainable(model, masks_of(model), torch.zeros(2, 4))
    assert small[0].out_features == 4 and small[4].in_features == 3
    assert not small[4].weight.any()


def test_the_model_is_not_changed_and_modes_and_dtypes_are_its_own():
    model = chain().eval()
    before = copy.deepcopy(model.state_dict())
    small, _ = trainable(model, masks_of(model), torch.zeros(2, 4))
    assert not small.training and small[0].weight.dtype == torch.float32
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Often(nn.Module):
    """Dropout, called twice or as a function: no module of it belongs to one place."""

    def __init__(self, function: bool):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)])
        self.dropout, self.function = nn.Dropout(0.3), function

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:2]:
            x = layer(x.relu())
            x = F.dropout(x, 0.3, self.training) if self.function else self.dropout(x)
        return self.layers[2](x)


@pytest.mark.parametrize("function", [False, True])
def test_channels_stay_where_dropout_cannot_draw_for_the_others(function):
    model = Often(function)
    masks = {f"layers.{i}.weight": model.layers[i].weight > -1 for i in range(3)}
    masks["layers.1.weight"][:, :3] = False
    apply(model, masks)
    assert trainable(model, masks, torch.zeros(2, 4))[1] == {}


def test_a_network_that_cannot_be_traced_is_refused():
    class Choice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else x

    model = Choice()
    with pytest.raises(ValueError, match=r"torch\.fx cannot trace it"):
        trainable(model, masks_of(model), torch.zeros(2, 4))
