"""`compact` removes channels that are constant, where the next bias takes them over exactly."""

import pytest
import torch
from torch import Tensor, nn

from proofs_tests.prune.test_compact import disturbed, same
from prune.compact import compact

X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()


def conv(inputs: int, outputs: int, size: int = 1, **options) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, **options)


def constants(*parts: nn.Module) -> nn.Module:
    """A network whose first layer has four outputs; of two no incoming weight is left."""
    torch.manual_seed(0)
    model = disturbed(nn.Sequential(conv(2, 4), *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with torch.no_grad():
        model[0].weight[1:3] = 0
        model[0].bias.copy_(torch.tensor([0.3, 0.5, 0.7, -0.4]))
    return model


def left(model: nn.Module, x: Tensor = X) -> tuple[int, nn.Module]:
    """The number of channels of the first layer that are left in a network that is the same."""
    small = compact(model, torch.zeros_like(x))
    assert same(model, small, x)
    return small[0].out_channels, small


PARTS = {  # name -> parts of the network, and the number of channels that are left of four
    "bias": ([nn.ReLU(), conv(4, 3)], 2),
    "larger kernel": ([nn.SiLU(), conv(4, 3, 3)], 2),
    "stride and dilation": ([conv(4, 3, 2, stride=2, dilation=2, padding="valid")], 2),
    "zeros around the map": ([nn.ReLU(), conv(4, 3, 3, padding=1)], 4),
    "zeros around a pointwise convolution": ([conv(4, 3, 1, padding=1)], 4),
    "same": ([conv(4, 3, 3, padding="same")], 4),
    "same, pointwise": ([conv(4, 3, 1, padding="same")], 2),
    "reflections around the map": ([conv(4, 3, 3, padding=1, padding_mode="reflect")], 2),
    "transposed": ([nn.ConvTranspose2d(4, 3, 3)], 4),
    "norm first": ([nn.BatchNorm2d(4), nn.Hardswish(), conv(4, 3)], 2),
    "pools": ([nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2), conv(4, 3)], 2),
    "average with zeros": ([nn.AvgPool2d(3, 1, 1), conv(4, 3)], 4),
    "depthwise": ([conv(4, 4, 3, groups=4), nn.ReLU(), conv(4, 3)], 2),
    "depthwise with zeros": ([conv(4, 4, 3, groups=4, padding=1), conv(4, 3)], 4),
    "grouped": ([conv(4, 6, 3, groups=2), nn.ReLU(), conv(6, 3)], 2),
    "group norm": ([nn.GroupNorm(2, 4), conv(4, 3)], 4),
    "flat": ([nn.Flatten(), nn.Linear(144, 5), nn.ReLU(), nn.Unflatten(1, (5, 1, 1))], 2),
}


@pytest.mark.parametrize("name", PARTS)
def test_constant_channels_are_folded_where_that_is_exact(name):
    parts, width = PARTS[name]
    assert left(constants(*parts))[0] == width


@pytest.mark.parametrize("padding", [0, 1])
def test_a_constant_zero_is_removed_in_front_of_zeros(padding):
    model = constants(nn.ReLU(), conv(4, 3, 3, padding=padding))
    with torch.no_grad():
        model[0].bias[1:3] = -1
    width, small = left(model)
    assert width == 2 and torch.equal(small[2].bias, model[2].bias)


def test_a_chain_of_constants_goes_at_once():
    model = constants(nn.ReLU(), conv(4, 5), nn.ReLU(), conv(5, 3))
    with torch.no_grad():
        model[2].weight[:3, [0, 3]] = 0
    width, small = left(model)
    assert width == 2 and small[2].out_channels == 2


def test_without_a_bias_the_mean_of_the_following_norm_takes_the_part_over():
    model = constants(nn.ReLU(), conv(4, 3, bias=False), nn.BatchNorm2d(3))
    width, small = left(model)
    assert width == 2 and small[2].bias is None
    expected = model[3].running_mean - (model[2].weight[:, 1:3, 0, 0] @ model[0].bias[1:3])
    assert torch.allclose(small[3].running_mean, expected, atol=1e-12)


@pytest.mark.parametrize("frozen", [False, True])
def test_without_a_norm_there_is_a_new_bias(frozen):
    model = constants(nn.ReLU(), conv(4, 3, bias=False), nn.ReLU(), nn.BatchNorm2d(3))
    model[2].weight.requires_grad_(not frozen)
    width, small = left(model)
    assert width == 2 and small[2].bias.shape == (3,)
    assert small[2].bias.requires_grad == small[2].weight.requires_grad == (not frozen)


def test_a_norm_that_is_used_twice_is_left_alone():
    norm = nn.BatchNorm2d(3)
    model = constants(conv(4, 3, bias=False), norm, conv(3, 3, bias=False), norm)
    width, small = left(model)
    assert width == 2 and small[1].bias is not None
    assert torch.equal(small[2].running_mean, model[2].running_mean)


def test_a_norm_beside_another_reader_is_left_alone():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv, self.norm = conv(2, 4), conv(4, 3, bias=False), nn.BatchNorm2d(3)
            self.stem.weight.data[1:3] = 0

        def forward(self, x):
            x = self.conv(self.stem(x))
            return self.norm(x) + x

    model = Beside().double().eval()
    small = compact(model, torch.zeros_like(X))
    assert same(model, small, X) and small.stem.out_channels == 2 and small.conv.bias is not None


class Gated(nn.Module):
    """Four channels times their gates; two of the four are constant."""

    def __init__(self, value: float, written: bool):
        super().__init__()
        self.stem, self.gate, self.head = conv(2, 4), conv(4, 4), conv(4, 3)
        self.written = written
        with torch.no_grad():
            self.stem.weight[1:3] = 0
            self.stem.bias[1:3] = value

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        gate = torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        if self.written:
            return self.head(x.mul_(gate))
        return self.head(x * gate)


@pytest.mark.parametrize(
    "value, written, width", [(-1.0, False, 2), (1.0, False, 4), (-1.0, True, 4), (1.0, True, 4)]
)
def test_zero_times_a_gate_is_constant(value, written, width):
    model = Gated(value, written).double()
    small = compact(model, torch.ones_like(X))
    assert same(model, small, X) and small.stem.out_channels == width
    assert small.gate.out_channels == width


def test_a_constant_in_a_sum_stays_with_the_other_summand():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = conv(2, 4), conv(2, 4), conv(4, 3)
            with torch.no_grad():
                self.a.weight[:2] = self.b.weight[1:3] = 0

        def forward(self, x):
            return self.head(torch.relu(self.a(x)) + torch.relu(self.b(x)))

    model = Sum().double()
    small = compact(model, torch.zeros_like(X))
    assert same(model, small, X) and small.a.out_channels == small.b.out_channels == 3


def test_a_network_that_is_constant_throughout():
    model = constants(nn.ReLU(), conv(4, 3))
    nn.init.zeros_(model[0].weight)
    width, small = left(model)
    assert width == 1 and small[2].in_channels == 1
