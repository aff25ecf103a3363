"""Golden masks: `prune` finds the masks that it found at commit aca6ce2, bit for bit.

The networks have their full width. Their weights are k / 1024 of whole k, which no machine rounds
differently; biases are 0.
"""

import hashlib

import numpy as np
import pytest
import torch

from experiments.checks.mask_hashes import fill_with_integers
from prune import Probe, prune
from train.models import build

SHAPES = {"mlp": (1, 8, 8), "vgg16": (3, 32, 32), "resnet18": (3, 32, 32)}
WAYS = {  # score, compression, schedule, scope; the default number of steps
    "exponential": ("synflow", 100, "exponential", "global"),
    "linear": ("synflow", 100, "linear", "global"),
    "certified": ("synflow", 100, "certified", "global"),
    "local": ("synflow", 100, "exponential", "local"),
    "snip": ("snip", 20, "exponential", "global"),
    "magnitude": ("magnitude", 20, "exponential", "global"),
}
GOLDEN = {
    "mlp": {
        "exponential": "5246d8b69163625b",
        "linear": "27dbba365e58e505",
        "certified": "ae3a626eb68346ac",
        "local": "3d70822a54314f27",
        "snip": "d46425a7e08ec142",
        "magnitude": "b46652bd673f68f4",
    },
    "vgg16": {
        "exponential": "d62f32c94d61219d",
        "linear": "859e36e22eae2f46",
        "certified": "0d321f3bff0f0781",
        "local": "1e4b98d0ddf98370",
        "snip": "f096c23f725df64a",
        "magnitude": "62a4888514d243ca",
    },
    "resnet18": {
        "exponential": "cebbcb8255ada274",
        "linear": "f8f64f07cb60032e",
        "certified": "461921631e1a3ebb",
        "local": "f7b1e90c554d2e6c",
        "snip": "b8bd167e96d752dd",
        "magnitude": "df974c42f8ee92f0",
    },
}


def batches(shape):
    """Two batches of four labelled images; each pixel is a whole number of eighths."""
    generator = torch.Generator().manual_seed(1)
    for labels in (torch.arange(4), torch.arange(4, 8)):
        yield torch.randint(-16, 17, (4, *shape), generator=generator) / 8, labels


def hash_of(masks):
    """The first 16 hex digits of SHA-256 over the names, shapes and bits of all masks."""
    digest = hashlib.sha256()
    for name, mask in masks.items():
        digest.update(f"{name} {tuple(mask.shape)}".encode())
        digest.update(np.packbits(mask.numpy()).tobytes())
    return digest.hexdigest()[:16]


def pruned(name, way):
    """The masks of the network `name`, found in one of WAYS."""
    score, compression, schedule, scope = WAYS[way]
    model = build(name, SHAPES[name], 10)
    fill_with_integers(model)
    probe = Probe(SHAPES[name], tuple(batches(SHAPES[name])))
    return prune(model, score, probe, compression, schedule=schedule, scope=scope)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        pytest.param("vgg16", marks=pytest.mark.slow),
        pytest.param("resnet18", marks=pytest.mark.slow),
    ],
)
def test_masks_are_the_golden_ones(name, way):
    """Of each network and each way to prune it (Algorithm 1, App. 11, App. 12.1)."""
    assert hash_of(pruned(name, way)) == GOLDEN[name][way]
