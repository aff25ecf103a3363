"""The work of each rank in test_ranks.py."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.checks.pictures import random_task
from experiments.runs.training import apply_everywhere
from prune import Probe, apply, prune
from train.batch_norm import share_batch_norm
from train.batches import Task
from train.data import known
from train.loop import train
from train.models import build
from train.prepared import plain, prepared
from train.ranks import check_same, joined, of_first, rank, ranks, total
from train.recipes import Recipe

CPU = torch.device("cpu")
# The last batch of an epoch has one image: with two ranks the second gets none of it.
IMAGES, RECIPE = 17, Recipe(2, 8, 0.05, (1,), 0.1, 5e-4)


def learning_curve(folder: Path) -> dict:
    """History, weights and running statistics of a pruned VGG-11 with batch norm."""
    torch.manual_seed(0)
    model = build("vgg11", (3, 32, 32), 10, 1 / 16)
    apply(model, prune(model, "magnitude", Probe((3, 32, 32)), compression=10))
    net = prepared(model)
    history = train(net, task(), RECIPE, seed=0, path=folder / "checkpoint.pt")
    return {"history": history, "state": plain(net).state_dict()}


def task() -> Task:
    return random_task(IMAGES, CPU, replace(known("cifar10"), flip=True))


def normalised(rows: slice) -> list[Tensor]:
    """Batch norm's outputs and gradients for some rows of a batch, and its statistics for all."""
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64}
    x = torch.randn(7, 3, 2, 2, **draw) * 5 + 20
    weigh = torch.randn(7, 3, 2, 2, **draw)
    model = nn.Sequential(nn.BatchNorm2d(3)).double()
    nn.init.uniform_(model[0].weight, generator=generator)
    if ranks() > 1:
        share_batch_norm(model)
    mine = x[rows].requires_grad_()
    y = model.train()(mine)
    (y * weigh[rows]).sum().backward()
    gradients = [total(p.grad) for p in model.parameters()]
    return [y.detach(), mine.grad, *gradients, *model.buffers()]


def together(folder: Path) -> None:
    mine = {"normalised": normalised(slice(rank(), None, ranks())), **learning_curve(folder)}
    mine["from first"] = of_first(lambda: {"rank": rank(), "tensor": torch.arange(3)})
    mine["total"] = total(torch.tensor(rank() + 1))
    check_same("what is the same", "same")
    mine["numbers"] = refusal(lambda: check_same("numbers", str(rank())))
    model = nn.Sequential(nn.Linear(2, 2))
    masks = {"0.weight": torch.arange(4).view(2, 2) < 2 + rank()}
    mine["masks"] = refusal(lambda: apply_everywhere(model, masks))
    mine["applied"] = not model[0].weight.all()
    torch.save(mine, folder / f"rank{rank()}.pt")


def refusal(work: Callable[[], object]) -> str:
    """The text of the ValueError that `work` raises; "none" without one."""
    try:
        work()
    except ValueError as error:
        return str(error)
    return "none"


def member(folder: Path) -> None:
    """Do the work of this rank, and save what it found in the folder."""
    with joined("cpu"):
        together(folder)
