"""Check that every model, image shape and recipe takes a training step on a memoryless device.

The `meta` device computes shapes and no values. On it, a tensor of another device is an error, and
so is a value that Python needs. Neither error can stay hidden until a GPU is used.
"""

import warnings
from collections.abc import Iterator

import torch

from experiments.checks.outcome import Failed, expect
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


def rehearsal(device: torch.device) -> str:
    """Take one step of every combination on `meta`, and on CUDA a few without synchronisation."""
    rehearsed = list(combinations())
    for model, dataset, recipe in rehearsed:
        _rehearse(model, dataset, recipe)
    if device.type == "cuda":
        _forbid_synchronisation(device)
    return f"{len(rehearsed)} combinations of model, image shape and recipe"


def combinations() -> Iterator[tuple[str, str, Recipe]]:
    """Pair every model with every data set that it fits, by the paper's and published recipes."""
    for dataset in SHAPES:
        for model in MODELS:
            if (model, dataset) not in TOO_SMALL:
                for recipe in _recipes(model, dataset):
                    yield model, dataset, recipe


def _recipes(model: str, dataset: str) -> Iterator[Recipe]:
    yield paper(model, dataset)
    try:
        yield published(model, dataset)
    except ValueError:  # the authors published no run of these
        return


def _rehearse(model: str, dataset: str, recipe: Recipe) -> None:
    try:
        taken = len(list(_steps(model, known(dataset), recipe, META, count=1)))
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise Failed(
            f"{model} on {dataset} needs another device or a tensor's value: {reason}"
        ) from error
    expect(taken == 1, f"{model} on {dataset} took {taken} steps, not 1")


def _steps(
    model: str, dataset: Dataset, recipe: Recipe, device: torch.device, count: int
) -> Iterator[None]:
    """Take up to `count` training steps, one for each item that the caller draws."""
    data = blank_task(model, dataset, count * recipe.batch_size, device)
    with device:
        network = build(model, input_shape(model, dataset.shape), dataset.classes)
    apply(network, dense_masks(network))
    optimizer = sgd(network.train(), recipe)
    for inputs, labels, size in training_batches(data, recipe.batch_size, seed=0, epoch=0):
        yield step(network, optimizer, inputs, labels, size)


def blank_task(model: str, dataset: Dataset, n: int, device: torch.device) -> Task:
    """Make n black training images of class 0, in the data set's shape."""
    images = torch.zeros(n, *dataset.shape, dtype=torch.uint8, device=device)
    split = Split(images, torch.zeros(n, dtype=torch.int64, device=device))
    return task((split, split), dataset, input_shape(model, dataset.shape), device)


def _forbid_synchronisation(device: torch.device) -> None:
    """Take three steps of ResNet-18 on CUDA; PyTorch reports synchronisation after the first."""
    steps = _steps("resnet18", known("cifar10"), paper("resnet18", "cifar10"), device, count=3)
    next(steps)  # copies the order of the images to the device
    with warnings.catch_warnings():  # this mode is a prototype of torch
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        list(steps)
    except RuntimeError as error:
        raise Failed(f"the host waits for the device: {error}") from error
    finally:
        torch.cuda.set_sync_debug_mode("default")
