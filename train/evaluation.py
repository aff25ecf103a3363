"""Accuracy and loss on the test images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.batches import Task, plain_batches, share
from train.ranks import total

EVALUATION_PIXELS = 2**22  # of a channel in one evaluation batch, of 500 images at most


@torch.no_grad()
def evaluate(
    model: nn.Module, task: Task, tick: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent, and the mean loss, on the test split in eval mode.

    With fewer than five classes, top5 is 100. The modes of all submodules are put back. `tick` is
    called after each of `evaluation_batches(task)` batches.
    """
    sums: Tensor | int = 0
    with eval_mode(model):
        for inputs, labels in plain_batches(share(task.test), task, _evaluated_at_once(task)):
            sums = sums + _score(model(inputs), labels)
            tick()
    right, among_five, loss = total(sums).tolist()
    n = len(task.test.labels)
    return {"top1": 100 * right / n, "top5": 100 * among_five / n, "loss": loss / n}


def evaluation_batches(task: Task) -> int:
    """The number of batches of an evaluation on this rank."""
    return -(-len(share(task.test).labels) // _evaluated_at_once(task))


def _evaluated_at_once(task: Task) -> int:
    pixels = task.test.images.shape[2] * task.test.images.shape[3]
    return min(500, EVALUATION_PIXELS // pixels)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode, and every submodule back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _score(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over a batch: right at first guess, right among five, cross-entropy; float64 (3,)."""
    guesses = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([guesses[:, 0].sum(), guesses.any(1).sum(), loss]).double()
