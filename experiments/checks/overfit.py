"""(vii) Networks that learn must be able to learn by heart: random labels, to the last image."""

from dataclasses import replace

import torch

from experiments.checks.pictures import random_task
from experiments.checks.verdict import Failed
from prune import Probe, apply, prune
from train.batches import Task, training_batches
from train.data import known
from train.loop import begin_epoch, evaluate, sgd, train_epoch
from train.models import build
from train.prepared import best_precision, prepared
from train.recipes import Recipe

IMAGES = 256
RECIPE = Recipe(epochs=25, batch_size=64, lr=0.02, lr_drops=(), drop_factor=1, weight_decay=0)


def overfit(device: torch.device) -> str:
    """VGG-16 and ResNet-18 of a quarter of the width, dense and at compression 10, reach 100 %."""
    still = replace(known("cifar10"), crop=0, flip=False)
    data = random_task(IMAGES, device, still)
    data = data._replace(test=data.train)
    took = []
    for model in ("vgg16", "resnet18"):
        for compression in (1, 10):
            took.append(_epochs_to_learn(model, compression, data))
    return f"100 % after {', '.join(map(str, took))} epochs"


def _epochs_to_learn(model: str, compression: float, data: Task) -> int:
    torch.manual_seed(0)
    device = data.train.labels.device
    network = build(model, data.dataset.shape, data.dataset.classes, width=0.25).to(device)
    apply(network, prune(network, "synflow", Probe(data.dataset.shape), compression))
    network = prepared(network, best_precision(str(device)))
    optimizer = sgd(network, RECIPE)
    for epoch in range(1, RECIPE.epochs + 1):
        begin_epoch(optimizer, RECIPE, epoch)
        train_epoch(network, optimizer, training_batches(data, RECIPE.batch_size, 0, epoch))
        top1 = evaluate(network, data)["top1"]
        if top1 == 100:
            return epoch
    raise Failed(
        f"{model} at compression {compression} knows {top1:.0f} % after {epoch + 1} epochs"
    )
