"""`compact` where channels are joined, split, shuffled, gated, grouped: equal outputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from proofs_tests.prune.test_compact import same
from prune.compact import compact

BLOCKS = (
    *("conv", "depthwise", "grouped", "transposed", "norm", "relu", "silu", "pool", "average"),
    *("residual", "dense", "shuffle", "halves", "product", "slice", "gate", "group_norm", "tokens"),
)


class Joined(nn.Module):
    """A random network: each block reads one tensor (n, C, H, W) and returns another."""

    def __init__(self, blocks: list[str], pick):
        super().__init__()
        self.blocks, self.layers, width = list(blocks), nn.ModuleDict(), 4
        self.stem = nn.Conv2d(2, width, 3, padding=pick(2))
        for i, block in enumerate(blocks):
            if block == "slice" and width % 4:
                self.blocks[i] = "relu"  # widths stay even
            width = self.add(f"{i}", self.blocks[i], width, pick)
        self.flat = pick(2)
        self.pooled = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(width * (4 if self.flat else 1), 3)

    def add(self, i: str, block: str, width: int, pick) -> int:
        """Make the layers of a block, and return its width."""
        conv = dict(kernel_size=1 + 2 * pick(2), bias=bool(pick(2)))
        conv["padding"] = conv["kernel_size"] // 2
        out = 4 * (1 + pick(2)) if block in ("conv", "grouped", "transposed", "dense") else width
        layer = {
            "depthwise": lambda: nn.Conv2d(width, width, groups=width, **conv),
            "grouped": lambda: nn.Conv2d(width, out, groups=2, **conv),
            "transposed": lambda: nn.ConvTranspose2d(width, out, groups=1 + pick(2), **conv),
            "norm": lambda: nn.BatchNorm2d(width),
            "relu": nn.ReLU,
            "silu": nn.SiLU,
            "pool": lambda: nn.MaxPool2d(3, 1, 1),
            "average": lambda: nn.AvgPool2d(2, 1, pick(2)),
            "halves": lambda: nn.Conv2d(width // 2, width // 2, **conv),
            "group_norm": lambda: nn.GroupNorm(2, width),
            "tokens": lambda: nn.Sequential(nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, width)),
            "gate": lambda: nn.Sequential(
                *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 3, 1), nn.ReLU()),
                *(nn.Conv2d(3, width, 1), nn.Sigmoid()),
            ),
            "product": lambda: nn.Conv2d(width, width, **conv),
        }.get(block, lambda: nn.Conv2d(width, out, **conv))
        self.layers[i] = layer()
        return width + out if block == "dense" else width // 2 if block == "slice" else out

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block, layer in zip(self.blocks, self.layers.values()):
            x = getattr(self, block, self.plain)(x, layer)
        return self.head(self.pooled(x).flatten(1) if self.flat else x.mean((2, 3)))

    def plain(self, x, layer):
        return layer(x)

    def residual(self, x, layer):
        return x + torch.relu(layer(x))

    def dense(self, x, layer):
        return torch.cat([x, torch.relu(layer(x))], 1)

    def shuffle(self, x, layer):
        n, c, h, w = x.size()
        return layer(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))

    def halves(self, x, layer):
        a, b = x.chunk(2, dim=1)
        return torch.cat((a, layer(b)), dim=1)

    def product(self, x, layer):
        return torch.relu(x) * layer(x)

    def slice(self, x, layer):
        return layer(x)[:, : x.size(1) // 2]

    def gate(self, x, layer):
        return x * layer(x)

    def tokens(self, x, layer):
        return x + layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def damaged(model: nn.Module, seed: int, share: float = 0.4) -> nn.Module:
    """Empty rows and columns of the weights; biases, shifts and statistics are random."""
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.dim() in (1, 3):
                shift = 0.5 if "var" in name else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + shift)
            for axis in range(2 if tensor.dim() > 1 and tensor.shape[1] > 1 else 0):
                gone = torch.rand(tensor.shape[axis], generator=generator) < share
                tensor.transpose(0, axis)[gone] = 0
    return model


@settings(max_examples=60)
@given(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=7), st.integers(0, 2**31))
def test_random_networks_have_the_same_outputs(blocks, seed):
    torch.manual_seed(seed)
    model = damaged(Joined(blocks, lambda n: int(torch.randint(n, ()))), seed)
    example, x = torch.ones(2, 2, 9, 8).double(), torch.randn(3, 2, 9, 8).double()
    small = compact(model, example)
    assert same(model, small, x) and small(x).isfinite().all()
    assert [type(a) for a in small.modules()] == [type(b) for b in model.modules()]


# ---- exactly the unread channels ------------------------------------------------------------


class Middle(nn.Module):
    """Two layers with a block between them. Some channels are read, by it only 0 to 3."""

    def __init__(self, block: str, layer: nn.Module, read: list[int], width: int = 8):
        super().__init__()
        self.stem, self.layer, self.join = nn.Conv2d(2, 8, 1), layer, getattr(Joined, block)
        self.head = nn.Conv2d(width, 3, 1)
        with torch.no_grad():
            for module in layer.modules():
                if len(getattr(module, "weight", ())) and module.weight.shape[1:2] == (8,):
                    module.weight[:, 4:] = 0
            self.head.weight[:, [i for i in range(width) if i not in read]] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.join(self, torch.relu(self.stem(x)), self.layer))


def conv(inputs: int, outputs: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups)


GATE = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(8, 3), conv(3, 8), nn.Sigmoid())
TOKENS = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 8))
NETS = {  # name -> network, then the widths of the stem and of each layer between it and the head
    "concatenation": (Middle("dense", conv(8, 4), [1, 2, 9], 12), [4, 1]),
    "depthwise": (Middle("plain", conv(8, 8, 8), [0, 3, 5]), [3, 3]),
    "depthwise, two outputs of each": (Middle("plain", conv(8, 16, 8), [0, 1, 5], 16), [2, 4]),
    "a group of four is not read": (Middle("plain", conv(8, 8, 4), [0, 1, 2, 6]), [6, 6]),
    "one of each group is read": (Middle("plain", conv(8, 8, 4), [0, 3, 4, 6]), [8, 4]),
    "transposed": (Middle("plain", nn.ConvTranspose2d(8, 6, 2, 2, groups=2), [1, 5], 6), [8, 2]),
    "shuffle": (Middle("shuffle", nn.ReLU(), [0, 1, 4, 5]), [4]),
    "shuffle, uneven": (Middle("shuffle", nn.ReLU(), [0, 4, 5]), [4]),
    "halves": (Middle("halves", conv(4, 4), [1, 5, 6]), [8, 2]),
    "half is handed on": (Middle("halves", nn.Identity(), [1, 6]), [4]),
    "slice of a layer": (Middle("slice", nn.Identity(), [1, 2], 4), [8]),
    "product": (Middle("product", conv(8, 8), [1, 2]), [4, 4]),
    "gate": (Middle("gate", GATE, [1, 2]), [4, 3, 4]),
    "last axis": (Middle("tokens", TOKENS, [1, 2]), [4, 5, 4]),
    "group norm": (Middle("plain", nn.GroupNorm(2, 8), [1, 2]), [8]),
}


@pytest.mark.parametrize("name", NETS)
def test_just_the_unread_channels_are_removed(name):
    model, widths = NETS[name]
    model, x = model.double(), torch.randn(3, 2, 4, 4).double()
    small = compact(model, x)
    assert same(model, small, x)
    widths_left = [
        getattr(module, "out_channels", getattr(module, "out_features", None))
        for module in [*small.stem.modules(), *small.layer.modules()]
    ]
    assert [width for width in widths_left if width] == widths
