"""Check the optimiser's settings in every epoch against the table of App. 12.3."""

from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from math import ceil, isclose
from typing import NamedTuple

import torch

from experiments.checks.outcome import expect
from experiments.checks.rehearsal import META, blank_task
from train.batches import training_batches
from train.data import known
from train.loop import begin_epoch, sgd
from train.models import build
from train.recipes import paper


class Column(NamedTuple):
    """One column of the table of App. 12.3."""

    model: str
    datasets: tuple[str, ...]
    epochs: int
    batch_size: int
    lr: float
    drops: tuple[int, ...]  # epochs after which the learning rate is multiplied by `factor`
    factor: float
    weight_decay: float


class Epoch(NamedTuple):
    """The settings of one epoch of one training."""

    model: str
    dataset: str
    epoch: int  # 1, 2, ...
    lr: float
    weight_decay: float
    momentum: float
    nesterov: bool
    batches: int


CIFAR, TINY_IMAGENET = ("cifar10", "cifar100"), ("tiny-imagenet",)
# Typed from the paper, independently of train/recipes.py.
TABLE = (
    Column("vgg11", CIFAR, 160, 128, 0.1, (60, 120), 0.1, 1e-4),
    Column("vgg11", TINY_IMAGENET, 100, 128, 0.01, (30, 60, 80), 0.1, 1e-4),
    Column("vgg16", CIFAR, 160, 128, 0.1, (60, 120), 0.1, 1e-4),
    Column("vgg16", TINY_IMAGENET, 100, 128, 0.01, (30, 60, 80), 0.1, 1e-4),
    Column("resnet18", CIFAR, 160, 128, 0.01, (60, 120), 0.2, 5e-4),
    Column("resnet18", TINY_IMAGENET, 100, 128, 0.01, (30, 60, 80), 0.1, 1e-4),
    Column("wrn18", CIFAR, 160, 128, 0.01, (60, 120), 0.2, 5e-4),
    Column("wrn18", TINY_IMAGENET, 100, 128, 0.01, (30, 60, 80), 0.1, 1e-4),
)
TRAINING_IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "tiny-imagenet": 100_000}
MOMENTUM = 0.9  # of the authors' code; the paper gives none


def schedule(device: torch.device) -> str:
    """Compare learning rate, weight decay, momentum and number of batches in every epoch."""
    expected = list(expected_epochs())
    for found, wanted in zip_longest(traced_epochs(), expected):
        expect(_equal(found, wanted), f"{found} is not {wanted}, as App. 12.3 has it")
    trainings = {(epoch.model, epoch.dataset) for epoch in expected}
    return f"{len(expected)} epochs of {len(trainings)} combinations"


def expected_epochs() -> Iterator[Epoch]:
    """Expand the table: a drop after epoch 60 shows in epoch 61."""
    for column in TABLE:
        for dataset in column.datasets:
            batches = ceil(TRAINING_IMAGES[dataset] / column.batch_size)
            for epoch in range(1, column.epochs + 1):
                drops = sum(epoch > drop for drop in column.drops)
                lr = column.lr * column.factor**drops
                yield Epoch(
                    column.model, dataset, epoch, lr, column.weight_decay, MOMENTUM, True, batches
                )


def traced_epochs() -> Iterator[Epoch]:
    """Read the settings from the optimiser, after the training loop has set them."""
    for column in TABLE:
        for dataset in column.datasets:
            yield from _trace(column.model, dataset)


def _trace(model: str, dataset: str) -> Iterator[Epoch]:
    recipe = paper(model, dataset)
    with META:
        network = build(model, known(dataset).shape, known(dataset).classes, 1 / 64)
    optimizer = sgd(network, recipe)
    batches = _batches(dataset, recipe.batch_size)
    for epoch in range(recipe.epochs):
        begin_epoch(optimizer, recipe, epoch)
        (group,) = optimizer.param_groups
        settings = (group[name] for name in ("lr", "weight_decay", "momentum", "nesterov"))
        yield Epoch(model, dataset, epoch + 1, *settings, batches)


def _equal(found: Epoch | None, wanted: Epoch | None) -> bool:
    """Compare exactly, except for the rounding of the learning rate, a product of factors.

    None stands for an epoch that only the other side has.
    """
    if found is None or wanted is None:
        return False
    return found._replace(lr=wanted.lr) == wanted and isclose(found.lr, wanted.lr)


@cache
def _batches(dataset: str, batch_size: int) -> int:
    """Count the batches of an epoch of the training loop."""
    data = blank_task("vgg11", known(dataset), known(dataset).train_size, META)
    return sum(1 for _ in training_batches(data, batch_size, seed=0, epoch=0))
