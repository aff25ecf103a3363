"""(iv) What the optimiser is told in each epoch of the 12 combinations, against a table."""

import csv
from functools import cache
from itertools import zip_longest
from pathlib import Path

import torch

from experiments.checks.rehearsal import META, blank_task
from experiments.checks.verdict import expect
from train.batches import training_batches
from train.data import known
from train.loop import begin_epoch, sgd
from train.models import build
from train.recipes import paper

TABLE = Path(__file__).with_suffix(".csv")
MODELS = ("vgg11", "vgg16", "resnet18", "wrn18")
DATASETS = ("cifar10", "cifar100", "tiny-imagenet")
SETTINGS = ("lr", "weight_decay", "momentum", "nesterov")
COLUMNS = ("model", "dataset", "epoch", *SETTINGS, "batches")


def schedule(device: torch.device) -> str:
    """Learning rate, weight decay, momentum and batches of every epoch, as App. 12.3 has them."""
    with open(TABLE, newline="") as file:
        expected = list(csv.DictReader(file))
    found = (row for m in MODELS for d in DATASETS for row in trace(m, d))
    for row, wanted in zip_longest(found, expected):
        expect(row == wanted, f"{row} is not the committed {wanted}")
    return f"{len(expected)} epochs of {len(MODELS) * len(DATASETS)} combinations"


def trace(model: str, dataset: str) -> list[dict[str, str]]:
    """One row for each epoch, read from the optimiser after the loop has set it."""
    recipe = paper(model, dataset)
    with META:
        network = build(model, known(dataset).shape, known(dataset).classes, 1 / 64)
    optimizer = sgd(network, recipe)
    first = {"model": model, "dataset": dataset}
    last = {"batches": str(_batches(dataset, recipe.batch_size))}
    rows = []
    for epoch in range(recipe.epochs):
        begin_epoch(optimizer, recipe, epoch)
        (group,) = optimizer.param_groups
        told = {name: f"{group[name]:.6g}" for name in SETTINGS}
        rows.append(first | {"epoch": str(epoch + 1)} | told | last)
    return rows


@cache
def _batches(dataset: str, batch_size: int) -> int:
    """How many the loop gets in an epoch."""
    data = blank_task("vgg11", known(dataset), known(dataset).train_size, META)
    return sum(1 for _ in training_batches(data, batch_size, seed=0, epoch=0))
