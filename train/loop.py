"""The training loop: SGD, learning-rate drops, test accuracy after each epoch, exact resumption."""

import time
from collections.abc import Callable, Iterable
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train import checkpoint
from train.batches import DROPOUT, Task, plain_batches, seed_of, training_batches
from train.recipes import Recipe

EVALUATION_BATCH = 500
Row = dict[str, float]


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """In epoch 0, 1, ...: lr times drop_factor for each drop that has come."""
    lr = recipe.lr
    for drop in recipe.lr_drops:
        if drop <= epoch:
            lr *= recipe.drop_factor
    return lr


def sgd(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on every parameter, as the authors had it."""
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )


@torch.no_grad()
def evaluate(model: nn.Module, task: Task) -> dict[str, float]:
    """On the test split: top1 and top5 in percent (of fewer than five classes: all), mean loss."""
    model.eval()
    batches = plain_batches(task.test, task, EVALUATION_BATCH)
    sums = sum(_score(model(inputs), labels) for inputs, labels in batches)
    right, among_five, loss = sums.tolist()
    n = len(task.test.labels)
    return {"top1": 100 * right / n, "top5": 100 * among_five / n, "loss": loss / n}


def _score(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over a batch: right at first guess, right among five, cross-entropy; float64 (3,)."""
    guesses = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([guesses[:, 0].sum(), guesses.any(1).sum(), loss]).double()


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
    tick: Callable[[], None] = lambda: None,
) -> float:
    """One pass over the batches; returns the mean loss over examples (one transfer at the end)."""
    model.train()
    total, n = 0.0, 0
    for inputs, labels in batches:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        total = total + loss.detach().double() * len(labels)
        n += len(labels)
        tick()
    return float(total) / n


def train(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    seed: int,
    path: Path,
    report: Callable[[Row], None] = lambda row: None,
    tick: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Train in place, from the last checkpoint if there is one, and save one after each epoch.

    All randomness of an epoch comes from (seed, epoch), so a resumed run is the uninterrupted
    run: weights, momentum, learning rate, order, augmentation and dropout.

    Args:
        model: On the device of the task's images.
        task: Training and test images and how they are shown.
        recipe: Hyperparameters.
        seed: Of the data order, augmentation and dropout.
        path: Of the checkpoint.
        report: Called with each epoch's row, those of earlier sessions included.
        tick: Called after each optimizer step.

    Returns:
        One row per epoch: epoch (from 1), lr, train_loss, test_loss, top1, top5, seconds.

    Raises:
        ValueError: If the checkpoint is damaged or is that of another training.
        FloatingPointError: If the loss is no longer finite; the last checkpoint stays.
    """
    optimizer = sgd(model, recipe)
    start = checkpoint.fingerprint(model, recipe, seed)
    history = resume(model, optimizer, path, start)
    for row in history:
        report(row)
    for epoch in range(len(history), recipe.epochs):
        history.append(_epoch(model, optimizer, task, recipe, seed, epoch, tick))
        checkpoint.save(
            {
                "start": start,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "history": history,
            },
            path,
        )
        report(history[-1])
    return history


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    recipe: Recipe,
    seed: int,
    epoch: int,
    tick: Callable[[], None],
) -> Row:
    start = time.perf_counter()
    torch.manual_seed(seed_of(seed, DROPOUT, epoch))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, epoch)
    train_loss = train_epoch(
        model, optimizer, training_batches(task, recipe.batch_size, seed, epoch), tick
    )
    test = evaluate(model, task)
    for what, loss in (("training", train_loss), ("test", test["loss"])):
        if not isfinite(loss):
            raise FloatingPointError(
                f"training diverged in epoch {epoch + 1}: the {what} loss is {loss} "
                f"at learning rate {learning_rate(recipe, epoch):g}; try a lower one"
            )
    return {
        "epoch": epoch + 1,
        "lr": learning_rate(recipe, epoch),
        "train_loss": train_loss,
        "test_loss": test["loss"],
        "top1": test["top1"],
        "top5": test["top5"],
        "seconds": time.perf_counter() - start,
    }


def resume(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, start: str) -> list[Row]:
    """Load the checkpoint into model and optimizer; the rows so far, none without a checkpoint."""
    state = checkpoint.load(path, next(model.parameters()).device)
    if state is None:
        return []
    if state["start"] != start:
        raise ValueError(
            f"checkpoint {path} is that of another training: the network, its first weights, the "
            "masks, the recipe or the seed differ; move it away to train from the start"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["history"]
