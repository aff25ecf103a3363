"""Random torch networks: convolutions, normalisation, pooling, residual branches, linear layers.

`exact` ones have small integers for weights and powers of two for scales, so that in float64 no
sum or product of theirs is ever rounded: what holds in the paper holds with `==`.
"""

from math import gcd
from typing import NamedTuple

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

from prune import connected, prunable
from prune.masks import dense_masks

EPS = 2.0**-10  # of batch norm: var + EPS is a power of 4, whose root and inverse are exact


class Apply(nn.Module):
    """A function as a layer; `read` is what synaptic flow has in its place, if that differs."""

    def __init__(self, function, read=None):
        super().__init__()
        self.function, self.read = function, read or function

    def forward(self, x):
        return self.function(x)


class Residual(nn.Module):
    """branch(x) + shortcut(x)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x):
        return self.branch(x) + self.shortcut(x)


class Dense(nn.Module):
    """x and branch(x) side by side, as in DenseNet."""

    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return torch.cat([x, self.branch(x)], 1)


class Network(NamedTuple):
    """A model and the shape of one example, without the batch."""

    model: nn.Module
    shape: tuple[int, ...]


def shape_after(layer, shape):
    """The shape of what `layer` makes of an example of `shape`."""
    with torch.no_grad():
        return tuple(layer.eval()(torch.zeros(1, *shape)).shape[1:])


@st.composite
def convolutions(draw, shape):
    """Any convolution that fits: kernel, stride, padding, dilation, groups, bias."""
    channels, *size = shape
    out = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, gcd(channels, out)]))
    padding, stride = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    room = [length + 2 * padding for length in size]
    kernel = tuple(draw(st.integers(1, min(3, r))) for r in room)
    dilation = draw(st.integers(1, 2 if all(2 * k - 1 <= r for k, r in zip(kernel, room)) else 1))
    bias = draw(st.booleans())
    return nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias)


@st.composite
def convolutions_that_keep_size(draw, shape):
    """One whose output has the size of its input, for branches."""
    kernel, dilation = draw(st.sampled_from([1, 3])), draw(st.integers(1, 2))
    padding, out, bias = dilation * (kernel // 2), draw(st.integers(1, 3)), draw(st.booleans())
    groups = draw(st.sampled_from([1, gcd(shape[0], out)]))
    return nn.Conv2d(shape[0], out, kernel, 1, padding, dilation, groups, bias)


def transposed_convolutions(shape):
    """One that doubles the size."""
    return st.integers(1, 3).map(lambda out: nn.ConvTranspose2d(shape[0], out, 2, stride=2))


def norms(shape):
    return nn.BatchNorm2d(shape[0], eps=EPS)


def units():
    """Homogeneous units, as Theorem 1 asks."""
    return st.sampled_from([nn.ReLU, nn.Identity, lambda: nn.LeakyReLU(0.5), nn.PReLU])


@st.composite
def blocks(draw, shape, layers):
    """One of `layers`, then perhaps batch norm, a unit, dropout."""
    conv = draw(layers)
    norm = [norms(shape_after(conv, shape))] * draw(st.booleans())
    return nn.Sequential(conv, *norm, draw(units())(), *[nn.Dropout()] * draw(st.booleans()))


@st.composite
def residuals(draw, shape):
    """A branch of two convolutions beside an identity or a 1x1 convolution."""
    plain = draw(st.booleans())
    first = draw(blocks(shape, convolutions_that_keep_size(shape)))
    between = shape_after(first, shape)
    out = shape[0] if plain else draw(st.integers(1, 3))
    last = nn.Conv2d(between[0], out, 3, padding=1, bias=False)
    branch = nn.Sequential(first, last, *[norms((out,))] * draw(st.booleans()))
    shortcut = nn.Identity() if plain else nn.Conv2d(shape[0], out, 1, bias=False)
    return Residual(branch, shortcut)


def kinds(shape, exact, residual):
    """Layers that fit the shape."""
    small, large = min(shape[1:]), max(shape[1:])
    chain = [blocks(shape, convolutions(shape))]
    chain += [blocks(shape, transposed_convolutions(shape))] * (large < 5)
    chain += [pools(exact)] * (small > 1)
    dense = blocks(shape, convolutions_that_keep_size(shape)).map(Dense)
    return st.one_of(chain + [residuals(shape), dense] * residual)


def pools(exact):
    """Pooling; averages of 4 are exact, those of 9 and of uneven windows are not."""
    always = [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AdaptiveMaxPool2d(2)]
    always += [
        nn.AvgPool2d(2, 1, 1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, ceil_mode=True),
    ]
    return st.sampled_from(always + [nn.AvgPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(3)] * (not exact))


def heads(shape, exact):
    """Layers that turn an image into a vector."""
    area = shape[1] * shape[2]
    average = [nn.AdaptiveAvgPool2d(1)] * (not exact or area & (area - 1) == 0)
    return st.sampled_from([nn.Identity(), nn.AdaptiveMaxPool2d(1), *average])


@st.composite
def networks(draw, exact=True, residual=True, biases=True):
    """A feed-forward network of homogeneous layers, in training mode, its batch norms trained.

    Without `residual` every layer is a cut. Weights are not 0; without `biases` neither biases
    nor batch norms add anything. A path leads from input to output: a convolution with dilation
    may read nothing but padding.
    """
    size = draw(st.integers(1, 9))
    shape = image = (draw(st.integers(1, 3)), size, size)
    layers = []
    for _ in range(draw(st.integers(0, 3))):
        layers.append(draw(kinds(shape, exact, residual)))
        shape = shape_after(layers[-1], shape)
    layers += [draw(heads(shape, exact)), nn.Flatten()]
    (features,) = shape_after(nn.Sequential(*layers[-2:]), shape)
    if draw(st.booleans()):
        hidden = draw(st.integers(1, 3))
        layers += [nn.Linear(features, hidden, draw(st.booleans())), draw(units())()]
        features = hidden
    layers.append(nn.Linear(features, draw(st.integers(1, 3)), draw(st.booleans())))
    model = nn.Sequential(*layers)
    fill(model, draw(st.integers(0, 2**16)), exact, biases)
    assume(connected(model, dense_masks(model), image))
    return Network(model.train(), image)


def fill(model, seed, exact=True, biases=True):
    """Give the model weights: small integers but 0, or normal ones; and trained batch norms."""
    generator = torch.Generator().manual_seed(seed)

    def integers(like, *choices):
        chosen = torch.tensor(choices, dtype=like.dtype)
        return chosen[torch.randint(len(choices), like.shape, generator=generator)]

    weights = {id(w) for w in prunable(model).values()}
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            if id(p) in weights and not exact:
                p.data = torch.randn(p.shape, generator=generator) / p[0].numel() ** 0.5
            elif id(p) in weights:
                p.data = integers(p, -2, -1, 1, 2)
            elif name == "bias":
                p.data = integers(p, -1, 0, 1) * biases
            elif isinstance(module, nn.BatchNorm2d):
                p.data = integers(p, -2, -1, 1, 2)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = integers(module.running_mean, -1, 0, 1) * biases
            module.running_var = integers(module.running_var, 1, 4) - EPS


def batch(shape, seed, examples=2):
    """(examples, *shape) of small integers, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, (examples, *shape), generator=generator).double()
