"""Layers of all kinds, and the state of a model as it can be compared."""

import warnings
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune
from torch.utils.checkpoint import checkpoint

from prune import Probe

CLASSES = 4


class Kind(nn.Module):
    """A layer of 6 features between two linear layers, on (batch, 5, 6)."""

    def __init__(self, middle, head=True):
        super().__init__()
        self.first, self.middle = nn.Linear(6, 6), middle
        self.last = nn.Linear(6, CLASSES) if head else nn.Identity()

    def forward(self, x):
        return self.last(self.middle(self.first(x)).mean(1))


class Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Sequence(nn.Module):
    """A recurrent layer, of which the outputs are taken."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class Cached(nn.Module):
    """Tensors that `forward` keeps, counts and collects in attributes, lists and buffers."""

    def __init__(self):
        super().__init__()
        self.linear, self.scale, self.seen = nn.Linear(6, 6), torch.full((6,), 2.0), []
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.table: dict[str, Any] = {"last": None}

    def forward(self, x):
        self.calls += 1
        self.average.mul_(0.9).add_(x.detach().mean())
        self.cache, self.table["last"] = x, x.detach()
        self.seen.append(x.shape)
        return self.linear(x) * self.scale


class Attention(nn.Module):
    """Softmax attention written out, with gates and a position embedding."""

    def __init__(self):
        super().__init__()
        self.qkv, self.position = nn.Linear(6, 18), nn.Parameter(torch.randn(1, 5, 6))

    def forward(self, x):
        q, k, v = self.qkv(x + self.position).chunk(3, -1)
        return x + (q @ k.transpose(1, 2) / 6**0.5).softmax(-1) @ v * torch.sigmoid(q)


class Checkpointed(nn.Module):
    """A part that is run once more in the backward pass."""

    def __init__(self, reentrant):
        super().__init__()
        self.part, self.reentrant = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)), reentrant

    def forward(self, x):
        return checkpoint(self.part, x, use_reentrant=self.reentrant)


class Twice(nn.Module):
    """One module under two names."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.b = self.a

    def forward(self, x):
        return self.b(self.a(x).relu())


class Single(nn.Module):
    """Constants and casts in float32."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        return self.linear(x.float() @ torch.eye(6)).to(torch.float32) + torch.zeros(6)


def multihead():
    """Self-attention by nn.MultiheadAttention."""

    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    return Self()


ACTIVATIONS = [
    nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.SiLU, nn.GELU, nn.Mish, nn.ELU, nn.Softplus, nn.Tanh,
    nn.SELU, nn.CELU, nn.LeakyReLU, nn.Sigmoid, nn.Hardsigmoid, nn.PReLU,
]  # fmt: skip
KINDS = {
    **{one.__name__: one for one in ACTIVATIONS},
    "cached": Cached,
    "attention": Attention,
    "multihead": multihead,
    "encoder": lambda: nn.TransformerEncoderLayer(6, 2, 12, batch_first=True),
    "twice": Twice,
    "single": Single,
    "checkpoint": lambda: Checkpointed(False),
    "checkpoint reentrant": lambda: Checkpointed(True),
    "lstm": lambda: Sequence(nn.LSTM(6, 6, 2, batch_first=True)),
    "gru": lambda: Sequence(nn.GRU(6, 3, batch_first=True, bidirectional=True)),
    "rnn": lambda: Sequence(nn.RNN(6, 6, batch_first=True)),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(6, 6)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(6, 6)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(6, 6)),
    "torch's mask": lambda: torch_prune.random_unstructured(nn.Linear(6, 6), "weight", 0.3),
    "difference": lambda: Function(lambda x: (x - x.mean(-1, keepdim=True)).abs()),
    "own norm": lambda: Function(lambda x: (x - x.mean()) / (x.var() + 1e-5).sqrt()),
    "root mean square": lambda: Function(lambda x: x * (x.pow(2).mean(-1, True) + 1e-6).rsqrt()),
    "gated": lambda: Function(lambda x: F.silu(x) * x.flip(-1)),
    "glu": lambda: nn.Sequential(nn.Linear(6, 12), nn.GLU()),
    "in place": lambda: Function(lambda x: x.add_(1).mul_(2)),
    "convolution": lambda: nn.Conv1d(5, 5, 3, padding=1, groups=5),
    "transposed": lambda: nn.ConvTranspose1d(5, 5, 3, padding=1),
    "norms": lambda: nn.Sequential(nn.BatchNorm1d(5), nn.GroupNorm(5, 5), nn.InstanceNorm1d(5)),
    "scripted": lambda: torch.jit.script(nn.ReLU()),
}
kinds = st.sampled_from(sorted(KINDS))


def made(*names, head=True):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls torch.jit.script deprecated
        return Kind(nn.Sequential(*[KINDS[name]() for name in names]), head)


def probe():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 5, 6, generator=generator)
    y = torch.randint(CLASSES, (8,), generator=generator)
    return Probe((5, 6), [(x, y)], generator)


def frozen(value):
    """A value that can be compared: tensors by object, kind and content."""
    if isinstance(value, torch.Tensor):
        return id(value), type(value), value.dtype, value.requires_grad, value.tolist()
    if isinstance(value, dict):
        return [(key, frozen(part)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [frozen(part) for part in value]
    return id(value)


def state(model):
    """All attributes of all modules: tensors, modes, hooks, caches."""
    plain = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    return [frozen(dict(m.__dict__)) for m in plain], [m.training for m in model.modules()]
