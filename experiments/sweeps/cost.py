"""How long runs will take: the network's arithmetic, the machine's speed, runs done before."""

import time
from functools import cache

import torch
from torch.nn import functional as F

from experiments.config import DTYPES, RunConfig
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.facts import flops_of
from prune import prunable
from prune.scores import READS_DATA
from train.data import known

EFFICIENCY = 0.5  # of a whole network, against a convolution alone
BOTH_PASSES = 3  # forward and backward, in forward passes
SELECTION = 1e-7  # seconds to rank one weight
START = 1.0  # seconds to build the network and read the data


class Clock:
    """Guesses the seconds of a run, and learns from the runs that are done."""

    def __init__(self, jobs: int = 1):
        self.unknown = [(1.0, float(jobs))]  # guesses are for a run that has the machine alone
        self.done: dict[tuple, list[tuple[float, float]]] = {}  # kind -> (guessed, measured)

    def learn(self, config: RunConfig, seconds: float) -> None:
        """A run of this configuration took so long."""
        self.done.setdefault(_kind(config), []).append((guess(config), seconds))

    def seconds(self, config: RunConfig) -> float:
        """The guess, corrected by what was measured of the same network, or else of any."""
        everything = [pair for pairs in self.done.values() for pair in pairs]
        pairs = self.done.get(_kind(config), everything) or self.unknown
        guessed, measured = map(sum, zip(*pairs))
        return guess(config) * measured / guessed


def _kind(config: RunConfig) -> tuple:
    return config.model, config.dataset, config.width, config.device


def guess(config: RunConfig) -> float:
    """Seconds to prune and train, from the multiplications that the network needs."""
    try:
        flops, N = _network(*_kind(config), config.init)
    except Exception:  # whatever keeps the network from being built will also end its run
        return START
    scored = 1 if config.pruner == "synflow" else 0  # images in a scoring pass
    if config.pruner in READS_DATA:
        scored = 10 * known(config.dataset).classes
    passes = BOTH_PASSES**2 if config.pruner == "grasp" else BOTH_PASSES
    steps = 100 if config.steps is None else config.steps  # nobody knows what certified takes
    scoring = steps * (scored * passes * flops / _rate(config.score_dtype, config.device))
    data = known(config.dataset)
    images = BOTH_PASSES * (config.train_images or data.train_size) + data.test_size
    shown = (1 + config.cycles) * config.epochs * images
    training = shown * flops / _rate("float32", config.device)
    return START + scoring + steps * N * SELECTION + training


@cache
def _network(model: str, dataset: str, width: float, device: str, init: str) -> tuple[float, int]:
    """Floating-point operations of one forward pass on one image, and N."""
    config = RunConfig(model=model, dataset=dataset, width=width, device=device, init=init)
    network = initial_model(config).eval()
    image = torch.zeros(1, *probe_shape(config), device=device)
    return flops_of(network, image), sum(w.numel() for w in prunable(network).values())


@cache
def _rate(dtype: str, device: str) -> float:
    """Floating-point operations per second of a network here, from one convolution's."""
    options = {"dtype": DTYPES[dtype], "device": device}
    x, weight = torch.ones(16, 64, 32, 32, **options), torch.ones(64, 64, 3, 3, **options)

    def seconds() -> float:
        start = time.perf_counter()
        F.conv2d(x, weight).sum().item()  # .item() waits for the device
        return time.perf_counter() - start

    flops = 2 * 16 * 30 * 30 * weight.numel()
    return EFFICIENCY * flops / sorted(seconds() for _ in range(5))[2]
