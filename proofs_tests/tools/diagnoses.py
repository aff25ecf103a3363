"""Diagnoses of small networks."""

import torch
from torch import nn

from prune import Probe
from prune.diagnosis import diagnose

IMAGE = (3, 16, 16)
TINY = 1e-12  # relative rounding error of sums of a few thousand float64 numbers, at most


def chain(*middle, seed=0):
    """A convolution, the layers under test, a convolution and a linear layer, without biases."""
    torch.manual_seed(seed)
    parts = [nn.Conv2d(3, 4, 3, bias=False), *middle, nn.Conv2d(4, 5, 3, bias=False)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3, False))


def found(model, shape=IMAGE, dtype=torch.float64):
    return diagnose(model, Probe(shape, dtype=dtype))


def layer(diagnosis, name):
    return next(one for one in diagnosis.layers if one.name == name)
