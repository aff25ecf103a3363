"""Check float64 masks against committed hashes, which hold on every machine and device."""

import torch
from torch import nn

from experiments.checks.outcome import expect
from experiments.checks.pictures import random_task
from experiments.runs.facts import masks_sha256
from prune import Probe, prune
from train.batches import plain_batches
from train.models import build

SHAPE, CLASSES = (3, 32, 32), 10
# (model, score, steps) -> the first 16 digits of the SHA-256 of its masks, at compression 20 and an
# eighth of the width.
HASHES = {
    ("vgg16", "synflow", 30): "99fb81943dc2996b",
    ("resnet18", "synflow", 30): "e5acaf22879733d6",
    ("resnet18", "magnitude", 1): "8b31ca29fc5d4192",
    ("vgg11", "snip", 1): "5566777850394a90",
    ("vgg11", "grasp", 1): "2d4200f7ef755df6",
    ("vgg11", "grasp-text", 1): "0fa24a49d83bc8a1",
}


def mask_hashes(device: torch.device) -> str:
    """Prune each pair of network and score, and compare the hashes of the masks."""
    for (model, score, steps), wanted in HASHES.items():
        found = mask_hash(model, score, steps, device)
        expect(found == wanted, f"{model} {score}: {found} is not the committed {wanted}")
    return f"{len(HASHES)} masks"


def mask_hash(model: str, score: str, steps: int, device: torch.device) -> str:
    """Hash the masks of a network with integer weights, scored on random images."""
    network = build(model, SHAPE, CLASSES, width=1 / 8)
    fill_with_integers(network)
    data = random_task(64, device)
    batches = tuple(plain_batches(data.train, data, 32))
    masks = prune(network.to(device), score, Probe(SHAPE, batches), 20, steps)
    return masks_sha256(masks)[:16]


def fill_with_integers(network: nn.Module) -> None:
    """Set random weights k / 1024 of integer k, which every machine represents exactly."""
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        if weight.dim() > 1:
            bound = int(1024 * (6 / weight[0].numel()) ** 0.5)  # the range of Kaiming's uniform
            draw = torch.randint(-bound, bound + 1, weight.shape, generator=generator)
            weight.data = draw / 1024
