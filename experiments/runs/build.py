"""The parts that a run starts from: the network, the images, and the probe of a score."""

import os
from pathlib import Path

import torch
from torch import nn

from experiments.config import RunConfig
from experiments.pruners import reads_data
from experiments.runs.progress import Progress, counter
from prune import Probe
from train.batches import Task, measured, plain_batches, subset, task
from train.data import load
from train.foreign import check_output
from train.models import MODELS, build, input_shape
from train.ranks import ranks
from train.seeds import INITIAL_WEIGHTS, RANDOM_SCORES, SUBSET, seed_of

SCORING_BATCH = {"tiny-imagenet": 64, "imagenet": 16}  # others: 256 (App. 12.1)
SHARED_SEED = 0  # of the subset of training images, which is the same for all runs


def probe_shape(config: RunConfig) -> tuple[int, int, int]:
    """(channels, height, width) of the network's input."""
    return input_shape(config.model, config.data.shape)


def initial_model(config: RunConfig, use: int = INITIAL_WEIGHTS) -> nn.Module:
    """Build the unpruned network with the weights of this seed, on the run's device.

    With `use` REINIT its weights are other ones from the same seed and distribution.
    """
    torch.manual_seed(seed_of(config.seed, use))
    shape, classes = probe_shape(config), config.data.classes
    model = build(config.model, shape, classes, config.width, config.init)
    if config.model not in MODELS:
        check_output(model, shape, classes)
    return model.to(config.device)


def images(config: RunConfig, progress: Progress) -> Task:
    """Load training and test images to the run's device.

    The subset of `train_images` images is the same for all seeds.
    """
    on_count = counter(progress, "reading images")
    train, test = load(config.dataset, Path(config.data_dir), on_count, _workers(config))
    dataset = measured(config.data, train.images)
    if config.train_images:
        train = subset(train, config.train_images, SHARED_SEED)
    return task((train, test), dataset, probe_shape(config), torch.device(config.device))


def _workers(config: RunConfig) -> int:
    """The number of processes that decode images for this rank: by default its share of cores."""
    share = max(1, (os.cpu_count() or 1) // ranks())
    return share if config.workers is None else config.workers


def probe(config: RunConfig, data: Task | None) -> Probe:
    """Make the probe of the run's score.

    A score that reads data gets 10 x classes training images, without augmentation.
    """
    generator = torch.Generator().manual_seed(seed_of(config.seed, RANDOM_SCORES))
    batches = ()
    if reads_data(config.pruner):
        seed = seed_of(config.seed, SUBSET)
        chosen = subset(data.train, 10 * data.dataset.classes, seed)
        batches = tuple(plain_batches(chosen, data, SCORING_BATCH.get(config.dataset, 256)))
    return Probe(probe_shape(config), batches, generator, batch_statistics=config.bn == "batch")
