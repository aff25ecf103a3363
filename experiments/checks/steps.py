"""(iii) The training loop against a plain one, dense and pruned, bit by bit on a CPU."""

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.checks.pictures import random_task
from experiments.checks.verdict import expect
from prune import Probe, apply, prune
from prune.masks import Masks
from train.batches import Task, training_batches
from train.loop import train
from train.models import build
from train.prepared import prepared
from train.recipes import Recipe

ONE_STEP = Recipe(1, 16, 0.05, (), 0.1, 5e-4)  # of 16 images
FIFTY_STEPS = Recipe(10, 16, 0.05, (4, 8), 0.1, 5e-4)  # of 70: each epoch ends with a smaller batch
TOLERANCE = 1e-3  # of the loss, on devices whose sums depend on the order in which threads end


def steps(device: torch.device) -> str:
    """One step and 50 steps give the plain loop's weights, with and without masks."""
    for name in ("vgg11", "mlp"):
        # In both loops: torch's fused step may round the last entries of a tensor otherwise.
        fused = name == "mlp" and device.type == "cpu"
        torch.manual_seed(0)
        initial = build(name, (3, 32, 32), 10, 1 / 16).to(device)
        masks = prune(initial, "magnitude", Probe((3, 32, 32)), compression=10)
        for kind, chosen in (("dense", {}), ("pruned", masks)):
            what = f"{name}, {kind}"
            _compare(what, initial, chosen, random_task(16, device), ONE_STEP, fused)
            _compare(what, initial, chosen, random_task(70, device), FIFTY_STEPS, fused)
    how = "bit by bit" if device.type == "cpu" else f"losses within {TOLERANCE:g}"
    return f"1 and 50 steps, dense and pruned, {how}"


def _compare(
    name: str, initial: nn.Module, masks: Masks, data: Task, recipe: Recipe, fused: bool
) -> None:
    ours, plain = (prepared(copy.deepcopy(initial)) for _ in range(2))
    apply(ours, masks)
    with tempfile.TemporaryDirectory() as folder:
        rows = train(ours, data, recipe, seed=0, path=Path(folder) / "checkpoint.pt")
    losses = plain_loop(plain, masks, data, recipe, fused)
    found = [row["train_loss"] for row in rows]
    if data.test.labels.device.type == "cpu":
        same = all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters()))
        expect(same, f"{name}: the weights are not those of the plain loop")
    worst = max(abs(a - b) / b for a, b in zip(found, losses, strict=True))
    expect(worst < TOLERANCE, f"{name}: losses differ from the plain loop's by {worst:.1e}")


def plain_loop(
    model: nn.Module, masks: Masks, data: Task, recipe: Recipe, fused: bool
) -> list[float]:
    """What anybody would write: the mean loss of each epoch."""
    weights, losses = dict(model.named_parameters()), []
    how = {"weight_decay": recipe.weight_decay, "nesterov": True, "fused": fused or None}
    optimizer = torch.optim.SGD(weights.values(), recipe.lr, 0.9, **how)
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
