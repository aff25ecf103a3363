"""What a run starts from: the network, the images, and what a score may see of them."""

import os
from pathlib import Path

import torch
from torch import nn

from experiments.config import RunConfig
from experiments.runs.progress import Progress, counter
from prune import Probe
from prune.scores import READS_DATA
from train.batches import Task, plain_batches, subset, task
from train.data import known, load
from train.foreign import check_output
from train.models import MODELS, build, input_shape
from train.ranks import ranks
from train.seeds import seed_of

SCORING_BATCH = {"tiny-imagenet": 64, "imagenet": 16}  # others: 256 (App. 12.1)
WEIGHTS, RANDOM_SCORES, SUBSET, SHUFFLE, REINIT = 1, 2, 3, 4, 5  # what a seed is used for
FIXED = 0  # seed of the subset that all runs share, whatever their own


def probe_shape(config: RunConfig) -> tuple[int, int, int]:
    """(channels, height, width) of what the network is fed."""
    return input_shape(config.model, known(config.dataset).shape)


def initial_model(config: RunConfig, use: int = WEIGHTS) -> nn.Module:
    """The unpruned network with the weights of this seed, on the run's device.

    `use` REINIT gives other weights from the same seed and distribution.
    """
    torch.manual_seed(seed_of(config.seed, use))
    shape, classes = probe_shape(config), known(config.dataset).classes
    model = build(config.model, shape, classes, config.width, config.init)
    if config.model not in MODELS:
        check_output(model, shape, classes)
    return model.to(config.device)


def images(config: RunConfig, progress: Progress) -> Task:
    """Training and test images on the run's device; of `train_images`, the same for all seeds."""
    report = counter(progress, "reading images")
    train, test = load(config.dataset, Path(config.data_dir), report, _workers(config))
    if config.train_images:
        train = subset(train, config.train_images, FIXED)
    data = known(config.dataset)
    return task((train, test), data, probe_shape(config), torch.device(config.device))


def _workers(config: RunConfig) -> int:
    """How many processes decode images for this rank; by default the machine's cores, shared."""
    share = max(1, (os.cpu_count() or 1) // ranks())
    return share if config.workers is None else config.workers


def probe(config: RunConfig, data: Task | None) -> Probe:
    """What the score may see: for those that read data, 10 x classes images, not augmented."""
    generator = torch.Generator().manual_seed(seed_of(config.seed, RANDOM_SCORES))
    batches = ()
    if config.pruner in READS_DATA:
        seed = seed_of(config.seed, SUBSET)
        chosen = subset(data.train, 10 * data.dataset.classes, seed)
        batches = tuple(plain_batches(chosen, data, SCORING_BATCH.get(config.dataset, 256)))
    return Probe(probe_shape(config), batches, generator)
