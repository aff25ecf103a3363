"""The training loop: SGD, learning-rate drops, test accuracy after each epoch, exact resumption."""

import time
from collections.abc import Callable, Iterable
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train import checkpoint
from train.batches import Task, training_batches
from train.evaluation import evaluate
from train.part import Part, gather, spread
from train.prepared import plain
from train.ranks import rank, ranks, total
from train.recipes import Recipe
from train.seeds import DROPOUT, seed_of

Row = dict[str, float]


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """In epoch 0, 1, ...: lr times drop_factor for each drop up to this epoch."""
    lr = recipe.lr
    for drop in recipe.lr_drops:
        if drop <= epoch:
            lr *= recipe.drop_factor
    return lr


def sgd(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on every parameter, as in the authors' code.

    One group for each number of updates per step; with the recipe of the paper, one group.
    """
    fused = _fits_fused(model)
    groups: dict[int, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(recipe.updates_of(name), []).append(parameter)
    return torch.optim.SGD(
        [{"params": parameters, "updates": count} for count, parameters in groups.items()],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        fused=fused,
        foreach=not fused,  # the default on CUDA
    )


def _fits_fused(model: nn.Module) -> bool:
    """True if torch's fused step may be used: on a CPU it needs one pass, the others five.

    It reads memory in its order: where weight, gradient and momentum may have different orders
    (channels_last), it would silently mix up entries (torch 2.14).
    """
    return all(p.device.type == "cpu" and p.is_contiguous() for p in model.parameters())


def begin_epoch(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> None:
    """Set the learning rate of epoch 0, 1, ..."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, epoch)


def update(optimizer: torch.optim.Optimizer) -> None:
    """Update each group's parameters as often as its `updates`, with one gradient.

    Equal to an optimiser that lists a parameter several times
    (experiments/figures/published/DEPARTURES.md, row 8).
    """
    most = max(group["updates"] for group in optimizer.param_groups)
    optimizer.step()
    for done in range(1, most):
        for group in optimizer.param_groups:
            if group["updates"] == done:
                for parameter in group["params"]:
                    parameter.grad = None  # the optimiser passes over it from now on
        optimizer.step()


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Tensor, Tensor, int]],
    tick: Callable[[], None] = lambda: None,
) -> float:
    """Train on the batches; returns the mean loss over the examples (one transfer at the end)."""
    model.train()
    losses, n = 0.0, 0
    for inputs, labels, size in batches:
        losses = losses + step(model, optimizer, inputs, labels, size)
        n += size
        tick()
    return float(total(losses)) / n


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, size: int
) -> Tensor:
    """Make one step of SGD on a batch of `size`, of which this rank has (inputs, labels).

    Returns:
        This rank's part of the summed loss, float64, still on the device: nothing waits for it.
    """
    optimizer.zero_grad()  # here, since memory freed after a step would go back to the system
    loss = F.cross_entropy(model(inputs), labels, reduction="sum")
    (loss / size * ranks()).backward()  # DistributedDataParallel takes the mean over the ranks
    update(optimizer)
    return loss.detach().double()


def train(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    seed: int,
    path: Path,
    report: Callable[[Row], None] = lambda row: None,
    tick: Callable[[], None] = lambda: None,
    part: Part | None = None,
    begin: Callable[[int], None] = lambda done: None,
) -> list[Row]:
    """Train in place, from the last checkpoint if there is one, and save one after each epoch.

    All randomness of an epoch comes from (seed, epoch), so a resumed run is the uninterrupted
    run: weights, momentum, learning rate, order, augmentation and dropout. The number of ranks
    changes rounding only, except for dropout, which each rank draws for itself.

    Args:
        model: On the device of the task's images; may come from `prepared`.
        task: Training and test images and their normalisation.
        recipe: Hyperparameters.
        seed: Of the data order, augmentation and dropout.
        path: The checkpoint's file.
        report: Called with each epoch's row, also with those of earlier sessions.
        tick: Called after each optimizer step, and after each batch of an evaluation.
        part: The whole network that `model` is a part of. After each epoch the whole is up to
            date, and the checkpoint holds it: training may go on with the whole or with a part.
        begin: Called once with the number of epochs that the checkpoint has.

    Returns:
        One row per epoch: epoch (from 1), lr, train_loss, test_loss, top1, top5, seconds.

    Raises:
        ValueError: If the checkpoint is damaged or belongs to another training.
        FloatingPointError: If the loss is no longer finite; the last checkpoint stays.
    """
    net = plain(model)
    optimizer = sgd(net, recipe)
    whole, stored = (part.whole, sgd(part.whole, recipe)) if part else (net, optimizer)
    start = checkpoint.fingerprint(whole, recipe, seed)
    history = checkpoint.resume(whole, stored, path, start)
    if part:
        gather(part, net, stored, optimizer)
    for row in history:
        report(row)
    begin(len(history))
    for epoch in range(len(history), recipe.epochs):
        history.append(_epoch(model, optimizer, task, recipe, seed, epoch, tick))
        if part:
            steps = -(-len(task.train.labels) // recipe.batch_size)
            spread(part, net, stored, optimizer, steps)
        if rank() == 0:
            checkpoint.save(
                {
                    "start": start,
                    "model": whole.state_dict(),
                    "optimizer": stored.state_dict(),
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
    torch.manual_seed(seed_of(seed, DROPOUT + rank(), epoch))
    begin_epoch(optimizer, recipe, epoch)
    train_loss = train_epoch(
        model, optimizer, training_batches(task, recipe.batch_size, seed, epoch), tick
    )
    test = evaluate(model, task, tick)
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
