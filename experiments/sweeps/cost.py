"""Estimates of the time of runs, from the network, the machine's speed and finished runs."""

import time
from functools import cache

import torch
from torch.nn import functional as F

from experiments.config import DTYPES, RunConfig
from experiments.pruners import is_own
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.facts import flops_of
from prune import prunable
from prune.masks import size
from prune.positive import FLOWS
from prune.pruning import default_steps
from prune.scores import READS_DATA

EFFICIENCY = 0.5  # speed of a whole network, relative to a convolution alone
BOTH_PASSES = 3  # cost of a forward and a backward pass, in forward passes
SELECTION = 1e-7  # seconds to rank one weight
START = 1.0  # seconds to build the network and read the data
CERTIFIED_STEPS = 100  # a guess: the number is known only after pruning


class Clock:
    """Estimates of the seconds of runs, corrected by the times of finished runs."""

    def __init__(self, jobs: int = 1):
        self.unknown = 1.0, float(jobs)  # a guess is for a run that has the machine alone
        self.done: dict[tuple | None, tuple[float, float]] = {}  # kind, None: all -> sums of
        # guessed and measured seconds

    def learn(self, config: RunConfig, seconds: float) -> None:
        """Add the measured time of a run."""
        guessed = guess(config)
        for kind in (_kind(config), None):
            sums = self.done.get(kind, (0.0, 0.0))
            self.done[kind] = sums[0] + guessed, sums[1] + seconds

    def seconds(self, config: RunConfig) -> float:
        """The guess times measured / guessed of runs of the same network, or else of any."""
        known = self.done.get(_kind(config)) or self.done.get(None)
        guessed, measured = known or self.unknown
        return guess(config) * measured / guessed


def _kind(config: RunConfig) -> tuple:
    return config.model, config.dataset, config.width, config.device


def guess(config: RunConfig) -> float:
    """Seconds to prune and train, from the multiplications that the network needs."""
    try:
        flops, N = _network(*_kind(config), config.init)
    except Exception:  # a network that cannot be built will also end its run
        return START
    steps = CERTIFIED_STEPS if config.steps is None else config.steps
    passes = steps * _scoring_passes(config)
    if config.allocation == "synflow":
        passes += default_steps("synflow") * BOTH_PASSES
    scoring = passes * flops / _rate(config.score_dtype, config.device)
    training = _training_passes(config) * flops / _rate("float32", config.device)
    return START + scoring + steps * N * SELECTION + training


def _scoring_passes(config: RunConfig) -> int:
    """The cost of a scoring, in forward passes of one image."""
    images = 1 if config.pruner in FLOWS or is_own(config.pruner) else 0
    if config.pruner in READS_DATA:
        images = 10 * config.data.classes
    passes = {"grasp": BOTH_PASSES + BOTH_PASSES**2, "grasp-text": BOTH_PASSES**2}
    return images * passes.get(config.pruner, BOTH_PASSES)


def _training_passes(config: RunConfig) -> int:
    """The cost of all trainings of a run, in forward passes of one image."""
    trained = config.train_images or config.data.train_size
    return (1 + config.cycles) * config.epochs * (BOTH_PASSES * trained + config.data.test_size)


@cache
def _network(model: str, dataset: str, width: float, device: str, init: str) -> tuple[float, int]:
    """Floating-point operations of one forward pass on one image, and N."""
    config = RunConfig(model=model, dataset=dataset, width=width, device=device, init=init)
    network = initial_model(config).eval()
    image = torch.zeros(1, *probe_shape(config), device=device)
    return flops_of(network, image), size(prunable(network))


@cache
def _rate(dtype: str, device: str) -> float:
    """Floating-point operations per second of a network here, estimated from a convolution."""
    options = {"dtype": DTYPES[dtype], "device": device}
    x, weight = torch.ones(16, 64, 32, 32, **options), torch.ones(64, 64, 3, 3, **options)

    def seconds() -> float:
        start = time.perf_counter()
        F.conv2d(x, weight).sum().item()  # .item() waits for the device
        return time.perf_counter() - start

    flops = 2 * 16 * 30 * 30 * weight.numel()
    return EFFICIENCY * flops / sorted(seconds() for _ in range(5))[2]
