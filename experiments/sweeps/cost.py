"""Estimates of the time of runs, from the network, the machine's speed and finished runs."""

import time
from functools import cache
from typing import NamedTuple

import torch
from torch.nn import functional as F

from experiments.config import DTYPES, RunConfig
from experiments.pruners import is_own
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.flops import flops_of
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
ASSUMED = 1e13  # operations per second, in training, of a device that is not here
BASES = {  # the basis of an estimate -> its text; {} is the number of measured runs
    "measured": "measured runs like these: {}",
    "scaled": "measured runs, all of other networks: {}",
    "speed": "by this machine's speed, no run like these is measured",
    "assumed": f"no run like these is measured, {ASSUMED / 1e12:g} TFLOP/s are assumed",
}


class Clock:
    """Estimates of the seconds of runs, corrected by the times of finished runs."""

    def __init__(self, jobs: int = 1):
        self.unknown = Sums(1.0, float(jobs))  # a guess is for a run that has the machine alone
        self.done: dict[tuple | None, Sums] = {}  # kind, None: all -> sums
        self.elsewhere: dict[tuple, Sums] = {}  # of runs that are not of this sweep

    def learn(self, config: RunConfig, seconds: float, elsewhere: bool = False) -> None:
        """Add the measured time of a run; those elsewhere count where no other is of its kind."""
        guessed = guess(config)
        sums = self.elsewhere if elsewhere else self.done
        for kind in (_kind(config),) if elsewhere else (_kind(config), None):
            before = sums.get(kind, Sums())
            sums[kind] = Sums(before.guessed + guessed, before.measured + seconds, before.runs + 1)

    def knows(self, config: RunConfig) -> bool:
        """True if a run of the same kind is measured in this sweep."""
        return _kind(config) in self.done

    def seconds(self, config: RunConfig) -> float:
        """The guess times measured / guessed of runs of the same network, or else of any."""
        known = self._sums(config)
        return guess(config) * known.measured / known.guessed

    def basis(self, config: RunConfig) -> tuple[str, int]:
        """The key in BASES of the estimate for a run, and the number of measured runs behind it."""
        known, kind = self._sums(config), _kind(config)
        if known is self.unknown:
            return "speed" if _is_here(config.device) else "assumed", 0
        return "measured" if kind in self.done.keys() | self.elsewhere else "scaled", known.runs

    def _sums(self, config: RunConfig) -> "Sums":
        kind = _kind(config)
        return (
            self.done.get(kind) or self.elsewhere.get(kind) or self.done.get(None) or self.unknown
        )


class Sums(NamedTuple):
    """Sums over measured runs."""

    guessed: float = 0.0  # seconds
    measured: float = 0.0  # seconds
    runs: int = 0


class Size(NamedTuple):
    """The size of a network."""

    flops: float  # of one forward pass on one image
    N: int  # prunable weights
    weights: int  # bytes of all parameters
    buffers: int  # bytes


def _kind(config: RunConfig) -> tuple:
    device = torch.device(config.device).type
    return config.model, config.dataset, config.width, device, config.precision


def _is_here(device: str) -> bool:
    return torch.device(device).type == "cpu" or torch.cuda.is_available()


def guess(config: RunConfig) -> float:
    """Seconds to prune and train, from the multiplications that the network needs."""
    try:
        flops, N, *_ = size_of(config)
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


def size_of(config: RunConfig) -> Size:
    """The size of a run's network, which is built once for all runs."""
    return _network(config.model, config.dataset, config.width, config.init)


@cache
def _network(model: str, dataset: str, width: float, init: str) -> Size:
    """Build the network on the CPU and measure it."""
    config = RunConfig(model=model, dataset=dataset, width=width, device="cpu", init=init)
    network = initial_model(config).eval()
    flops = flops_of(network, torch.zeros(1, *probe_shape(config)))
    weights = sum(weight.nbytes for weight in network.parameters())
    buffers = sum(buffer.nbytes for buffer in network.buffers())
    return Size(flops, size(prunable(network)), weights, buffers)


@cache
def _rate(dtype: str, device: str) -> float:
    """Floating-point operations per second of a network here, estimated from a convolution."""
    if not _is_here(device):
        return ASSUMED
    options = {"dtype": DTYPES[dtype], "device": device}
    x, weight = torch.ones(16, 64, 32, 32, **options), torch.ones(64, 64, 3, 3, **options)

    def seconds() -> float:
        start = time.perf_counter()
        F.conv2d(x, weight).sum().item()  # .item() waits for the device
        return time.perf_counter() - start

    flops = 2 * 16 * 30 * 30 * weight.numel()
    return EFFICIENCY * flops / sorted(seconds() for _ in range(5))[2]
