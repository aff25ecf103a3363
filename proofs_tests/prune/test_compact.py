"""`compact`: the outputs are the same, and exactly the unread channels are removed."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

from prune import Probe, apply, prune
from prune.compact import compact
from prune.masks import prunable
from train.models import build

SHAPE = (2, 32, 32)


def size(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def disturbed(model: nn.Module) -> nn.Module:
    """The model in float64, with statistics and shifts of batch norm as after training."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.dim() == 1:
                tensor.copy_(torch.rand_like(tensor) + (0.5 if "var" in name else -0.5))
    return model.double().eval()


def same(model: nn.Module, small: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        a, b = model(x), small(x)
    return torch.allclose(a, b, rtol=0, atol=1e-12 * float(a.abs().max()))


# ---- every network --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "vgg11", "resnet18", "resnet20"])
@pytest.mark.parametrize("score", ["synflow", "magnitude"])
def test_outputs_are_the_same(name, score):
    torch.manual_seed(0)
    model = disturbed(build(name, SHAPE, 5, width=1 / 4))
    apply(model, prune(model, score, Probe(SHAPE), 200, steps=5))
    before = copy.deepcopy(model.state_dict())
    small = compact(model, torch.randn(2, *SHAPE).double())
    assert same(model, small, torch.randn(3, *SHAPE).double())
    assert size(small) < size(model) or score == "magnitude"  # magnitude empties few channels
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_synflow_leaves_no_channel_that_only_one_side_uses():
    """A channel without weights on one side has none on the other side (Theorem 1)."""
    model = build("vgg11", SHAPE, 5, width=1 / 4)
    apply(model, prune(model, "synflow", Probe(SHAPE), 100))
    small = compact(model, torch.randn(2, *SHAPE))
    layers = list(prunable(small).values())
    for layer, following in pairwise(layers):
        assert layer.flatten(1).any(1).all()
        assert following.transpose(0, 1).flatten(1).any(1).all()


# ---- multi-layer perceptrons, exactly -------------------------------------------------------


@given(st.lists(st.integers(1, 6), min_size=3, max_size=5), st.integers(0, 2**31), st.data())
def test_an_mlp_keeps_the_neurons_on_a_path_from_input_to_output(sizes, seed, data):
    """A neuron has a path if a product of masks is positive. Integer sums are exact.

    A neuron that no path from the input reaches is constant: it goes into the next bias.
    """
    density = data.draw(st.floats(0.1, 1))
    generator = torch.Generator().manual_seed(seed)
    weights = [
        torch.randint(-3, 4, (n, m), generator=generator).double()
        * (torch.rand(n, m, generator=generator) < density)
        for m, n in pairwise(sizes)
    ]
    layers = [nn.Linear(m, n).double() for m, n in pairwise(sizes)]
    for layer, weight in zip(layers, weights):
        layer.weight.data, layer.bias.data = weight, torch.ones(len(weight)).double()
    model = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())])
    x = torch.randint(-3, 4, (4, sizes[0]), generator=generator).double()
    small = compact(model, x)
    assert torch.equal(model(x), small(x))
    masks = [(weight != 0).double() for weight in weights]
    reached, leading = [torch.ones(sizes[0]).double()], [torch.ones(sizes[-1]).double()]
    for mask in masks:
        reached.append(mask @ reached[-1])
    for mask in reversed(masks):
        leading.append(mask.T @ leading[-1])
    between = [int((a * b).count_nonzero()) for a, b in zip(reached, reversed(leading))]
    expected = [max(1, count) for count in between[1:-1]] + sizes[-1:]
    assert [len(w) for w in prunable(small).values()] == expected


# ---- operations with and without a rule -----------------------------------------------------


FLAT = ("flat", "view", "view_of_96", "unlike")


class Net(nn.Module):
    """A convolution, something in the middle, a head; only channels 0 to 3 are read."""

    def __init__(self, middle: str):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1, groups=6 if middle == "depthwise" else 1)
        self.norm = nn.BatchNorm2d(6)
        self.norm1d = nn.BatchNorm1d(96)
        self.group = nn.GroupNorm(2, 6)
        self.square = nn.Linear(96, 96)
        self.shift = nn.Parameter(torch.randn(6, 1, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12 if middle == "concat" else 96 if middle in FLAT else 6, 3)
        self.middle, self.is_flat = getattr(self, middle), middle in FLAT
        with torch.no_grad():
            self.conv.weight[:, 4:] = 0
            self.head.weight[:, 4 * self.head.in_features // 6 :] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(torch.relu(self.stem(x)))
        return self.head(x if self.is_flat else self.pool(x).flatten(1))

    def plain(self, x):
        return self.conv(x)

    depthwise = plain

    def residual(self, x):
        return 2.0 + (x + self.norm(self.conv(x))) + x

    def flat(self, x):
        return self.norm1d(x.flatten(1))

    def twice(self, x):
        return self.conv(torch.relu(self.conv(x)))

    def norm_twice(self, x):
        return self.norm(self.conv(self.norm(x)))

    def tied(self, x):
        return F.conv2d(self.conv(x), self.conv.weight)

    def added(self, x):
        return self.conv(x) + self.group(x)

    def unlike(self, x):
        return self.square(x.flatten(1)) + x.flatten(1)

    def group_norm(self, x):
        return self.group(self.conv(x))

    def shifted(self, x):
        return self.conv(x) + self.shift

    def gated(self, x):
        return x * torch.sigmoid(self.conv(x).mean((2, 3), keepdim=True))

    def view(self, x):
        return self.conv(x).view(x.size(0), -1)

    def view_of_96(self, x):
        return self.conv(x).view(-1, 96)

    def concat(self, x):
        return torch.cat([x, self.conv(x)], 1)


LEFT = {  # middle -> the number of channels of the stem and of the convolution that are left
    "plain": (4, 4),
    "residual": (4, 4),
    "flat": (4, None),
    "view": (4, 4),
    "group_norm": (4, 6),
    "shifted": (4, 6),
    "view_of_96": (4, 6),
    "depthwise": (4, 4),
    "gated": (4, 4),
    "concat": (6, 2),
    "twice": (6, 6),
    "tied": (6, 6),
    "norm_twice": (6, 6),
    "added": (6, 6),
    "unlike": (6, None),
}


@pytest.mark.parametrize("middle", LEFT)
def test_just_the_unread_channels_are_removed(middle):
    torch.manual_seed(0)
    model = disturbed(Net(middle))
    x = torch.randn(3, 2, 4, 4).double()
    small = compact(model, x)
    assert small.stem.out_channels == LEFT[middle][0]
    assert small.conv.out_channels == (LEFT[middle][1] or 6)  # None: the convolution is not used
    assert same(model, small, x)


@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4), (3, 5, 5, 4)])
def test_a_linear_layer_on_the_last_of_several_dimensions(shape):
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    model[2].weight.data[:, 2:] = 0
    x = torch.randn(shape).double()
    small = compact(model, x)
    assert size(small) == 2 * 4 + 2 + 2 * 2 + 2 and same(model, small, x)


def test_a_closed_network_keeps_one_channel_of_each_layer():
    model = build("vgg11", SHAPE, 5, width=1 / 8)
    apply(model, {name: torch.zeros_like(w).bool() for name, w in prunable(model).items()})
    small, x = compact(model, torch.randn(2, *SHAPE)), torch.randn(3, *SHAPE)
    assert {layer.shape[1] for layer in prunable(small).values()} == {1, 2}
    assert same(model.eval(), small, x)


def test_it_can_be_trained_and_has_no_masks_left():
    torch.manual_seed(0)
    model = build("mlp", (1, 8, 8), 5)
    apply(model, prune(model, "synflow", Probe((1, 8, 8)), 20))
    small, x = compact(model, torch.randn(2, 1, 8, 8)), torch.randn(8, 1, 8, 8)
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    small.train()(x).square().sum().backward()
    optimizer.step()
    weight = small[1].weight
    assert weight.grad.count_nonzero() > 0.9 * weight.numel()
    assert not list(small.buffers())
    again = prune(small, "synflow", Probe((1, 8, 8)), 2)
    apply(small, again)
    assert torch.equal(small[1].weight != 0, again["1.weight"])


def test_a_network_that_cannot_be_traced_is_refused():
    class Deciding(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(ValueError, match=r"cannot be made smaller: torch\.fx cannot trace it \("):
        compact(nn.Sequential(Deciding(3, 3)), torch.randn(2, 3))


def test_a_model_that_cannot_be_copied_is_refused():
    """A tensor with a graph, such as the weight that torch.nn.utils.prune computes."""
    model = torch_prune.identity(nn.Linear(4, 3), "weight")
    model(torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"^this network cannot be made smaller: it cannot be cop"):
        compact(model, torch.ones(1, 4))
