"""(i) A full training step of every model, image shape and recipe, on a device without memory.

The `meta` device computes shapes and no values. A tensor made on another device, and a number
that Python waits for, are errors there: neither can hide until a GPU is used.
"""

from collections.abc import Iterator

import torch

from experiments.checks.verdict import Failed, expect
from prune import apply
from prune.masks import dense_masks
from train.batches import Task, task, training_batches
from train.data import Dataset, Split, known
from train.loop import sgd, step
from train.models import MODELS, build, input_shape
from train.recipes import Recipe, paper, published

META = torch.device("meta")
SHAPES = ("digits", "mnist", "cifar100", "tiny-imagenet", "imagenet")  # one data set of each shape
TOO_SMALL = {(model, "digits") for model in MODELS if model.startswith("vgg")}  # 8 px
STEPS = 59  # 51 with the recipe of the paper, 8 with the published one


def rehearsal(device: torch.device) -> str:
    """Every combination takes a step on `meta`; on CUDA one network does, waiting for nothing."""
    count = sum(_rehearse(model, dataset) for dataset in SHAPES for model in MODELS)
    expect(count == STEPS, f"{count} combinations took a step, not {STEPS}")
    if device.type == "cuda":
        _forbid_waiting(device)
    return f"{count} combinations of model, image shape and recipe"


def _rehearse(model: str, dataset: str) -> int:
    if (model, dataset) in TOO_SMALL:
        return 0
    count = 0
    for recipe in _recipes(model, dataset):
        try:
            list(_steps(model, known(dataset), recipe, META, count=1))
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).partition("\n")[0]
            raise Failed(f"{model} on {dataset} needs another device or waits: {reason}") from error
        count += 1
    return count


def _recipes(model: str, dataset: str) -> Iterator[Recipe]:
    yield paper(model, dataset)
    try:
        yield published(model, dataset)
    except ValueError:  # not one that was published
        return


def _steps(
    model: str, dataset: Dataset, recipe: Recipe, device: torch.device, count: int
) -> Iterator[None]:
    """Take `count` steps, one for each time that this is asked on."""
    data = blank_task(model, dataset, count * recipe.batch_size, device)
    with device:
        network = build(model, input_shape(model, dataset.shape), dataset.classes)
    apply(network, dense_masks(network))
    optimizer = sgd(network.train(), recipe)
    for inputs, labels, size in training_batches(data, recipe.batch_size, seed=0, epoch=0):
        yield step(network, optimizer, inputs, labels, size)


def blank_task(model: str, dataset: Dataset, n: int, device: torch.device) -> Task:
    """n black training images of a data set's shape, all of class 0."""
    images = torch.zeros(n, *dataset.shape, dtype=torch.uint8, device=device)
    split = Split(images, torch.zeros(n, dtype=torch.int64, device=device))
    return task((split, split), dataset, input_shape(model, dataset.shape), device)


def _forbid_waiting(device: torch.device) -> None:
    """Steps of ResNet-18 on CUDA, where the driver reports any wait of the host after the first."""
    steps = _steps("resnet18", known("cifar10"), paper("resnet18", "cifar10"), device, count=3)
    next(steps)  # this one brings the epoch's order to the device
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(steps)
    except RuntimeError as error:
        raise Failed(f"the host waits for the device: {error}") from error
    finally:
        torch.cuda.set_sync_debug_mode("default")
