"""Check that networks can memorise random labels, dense and pruned."""

from dataclasses import replace

import torch

from experiments.checks.outcome import Failed
from experiments.checks.pictures import random_task
from prune import Probe, apply, prune
from train.batches import Task, training_batches
from train.data import known
from train.evaluation import evaluate
from train.loop import begin_epoch, sgd, train_epoch
from train.models import build
from train.prepared import best_precision, prepared
from train.recipes import Recipe

IMAGES = 256
RECIPE = Recipe(epochs=25, batch_size=64, lr=0.02, lr_drops=(), drop_factor=1, weight_decay=0)


def overfit(device: torch.device) -> str:
    """Train VGG-16 and ResNet-18 at a quarter of the width until they are right on every image.

    Each is trained dense and at compression 10, on images without augmentation, and evaluated on
    its training images.
    """
    unchanged = replace(known("cifar10"), crop=0, flip=False)
    data = random_task(IMAGES, device, unchanged)
    data = data._replace(test=data.train)
    epochs = []
    for model in ("vgg16", "resnet18"):
        for compression in (1, 10):
            epochs.append(_epochs_to_memorise(model, compression, data))
    return f"100 % after {', '.join(map(str, epochs))} epochs"


def _epochs_to_memorise(model: str, compression: float, data: Task) -> int:
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
        f"{model} at compression {compression} classifies {top1:.0f} % of its training images "
        f"correctly after {epoch} epochs"
    )
