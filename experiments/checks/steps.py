"""Check the training loop against a plain one, dense and pruned; bit by bit on a CPU."""

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.checks.outcome import expect
from experiments.checks.pictures import random_task
from prune import Probe, apply, prune
from prune.masks import Masks
from train.batches import Task, training_batches
from train.loop import train
from train.models import build
from train.prepared import prepared
from train.recipes import Recipe

ONE_STEP = Recipe(1, 16, 0.05, (), 0.1, 5e-4)  # on 16 images
FIFTY_STEPS = Recipe(10, 16, 0.05, (4, 8), 0.1, 5e-4)  # on 70: the last batch is smaller
TOLERANCE = 1e-3  # relative, of the loss, where the order of summation varies with the threads


def steps(device: torch.device) -> str:
    """Compare one step and 50 steps with the plain loop, with and without masks."""
    for name in ("vgg11", "mlp"):
        # For both loops: torch's fused step may round the last entries of a tensor differently.
        fused = name == "mlp" and device.type == "cpu"
        torch.manual_seed(0)
        initial = build(name, (3, 32, 32), 10, 1 / 16).to(device)
        masks = prune(initial, "magnitude", Probe((3, 32, 32)), compression=10)
        for kind, chosen in (("dense", {}), ("pruned", masks)):
            label = f"{name}, {kind}"
            _compare(label, initial, chosen, random_task(16, device), ONE_STEP, fused)
            _compare(label, initial, chosen, random_task(70, device), FIFTY_STEPS, fused)
    agreement = "bit by bit" if device.type == "cpu" else f"losses within {TOLERANCE:g}"
    return f"1 and 50 steps, dense and pruned, {agreement}"


def _compare(
    label: str, initial: nn.Module, masks: Masks, data: Task, recipe: Recipe, fused: bool
) -> None:
    """Train a copy of `initial` by each loop; expect equal weights (on a CPU) and losses."""
    ours, plain = (prepared(copy.deepcopy(initial)) for _ in range(2))
    apply(ours, masks)
    with tempfile.TemporaryDirectory() as folder:
        rows = train(ours, data, recipe, seed=0, path=Path(folder) / "checkpoint.pt")
    losses = plain_loop(plain, masks, data, recipe, fused)
    found = [row["train_loss"] for row in rows]
    pairs = zip(ours.parameters(), plain.parameters(), strict=True)
    if data.test.labels.device.type == "cpu":
        same = all(torch.equal(a, b) for a, b in pairs)
        expect(same, f"{label}: the weights are not those of the plain loop")
    largest = max(abs(a - b) / b for a, b in zip(found, losses, strict=True))
    expect(largest < TOLERANCE, f"{label}: losses differ from the plain loop's by {largest:.1e}")


def plain_loop(
    model: nn.Module, masks: Masks, data: Task, recipe: Recipe, fused: bool
) -> list[float]:
    """Train by a straightforward loop; return the mean loss of each epoch."""
    weights, losses = dict(model.named_parameters()), []
    optimizer = torch.optim.SGD(
        weights.values(),
        recipe.lr,
        momentum=0.9,
        weight_decay=recipe.weight_decay,
        nesterov=True,
        fused=fused or None,
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, recipe.lr_drops, recipe.drop_factor)
    for epoch in range(recipe.epochs):
        model.train()
        losses.append(0.0)
        for inputs, labels, _ in training_batches(data, recipe.batch_size, 0, epoch):
            _zero(weights, masks)
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1] += loss.item() * len(labels) / len(data.train.labels)
        scheduler.step()
    _zero(weights, masks)
    return losses


def _zero(weights: dict[str, Tensor], masks: Masks) -> None:
    for name, mask in masks.items():
        weights[name].data *= mask
