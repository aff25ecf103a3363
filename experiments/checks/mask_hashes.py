"""Float64 masks against committed hashes: the same on every machine and device."""

import torch
from torch import nn

from experiments.checks.pictures import random_task
from experiments.checks.verdict import expect
from experiments.runs.facts import fingerprint
from prune import Probe, prune
from train.batches import plain_batches
from train.models import build

SHAPE, CLASSES = (3, 32, 32), 10
# (model, score, steps) at compression 20, an eighth of the width; the first 16 digits of SHA-256.
HASHES = {
    ("vgg16", "synflow", 30): "99fb81943dc2996b",
    ("resnet18", "synflow", 30): "e5acaf22879733d6",
    ("resnet18", "magnitude", 1): "8b31ca29fc5d4192",
    ("vgg11", "snip", 1): "5566777850394a90",
    ("vgg11", "grasp", 1): "0fa24a49d83bc8a1",
}


def mask_hashes(device: torch.device) -> str:
    """The masks of five scores and networks are the committed ones."""
    for case, wanted in HASHES.items():
        found = mask_hash(*case, device)
        expect(found == wanted, f"{case[0]} {case[1]}: {found} is not the committed {wanted}")
    return f"{len(HASHES)} masks"


def mask_hash(model: str, score: str, steps: int, device: torch.device) -> str:
    network = build(model, SHAPE, CLASSES, width=1 / 8)
    fill_with_integers(network)
    data = random_task(64, device)
    batches = tuple(plain_batches(data.train, data, 32))
    masks = prune(network.to(device), score, Probe(SHAPE, batches), 20, steps)
    return fingerprint(masks)[:16]


def fill_with_integers(network: nn.Module) -> None:
    """Weights k / 1024 of whole k: random numbers that no machine rounds differently."""
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        if weight.dim() > 1:
            bound = int(1024 * (6 / weight[0].numel()) ** 0.5)  # as wide as Kaiming's uniform
            draw = torch.randint(-bound, bound + 1, weight.shape, generator=generator)
            weight.data = draw / 1024
