"""One contender in a process of its own: `python -m benchmarks.contender '{"name": ...}'`.

Prints one JSON line: the seconds that the timed part took, and the peak memory of the process.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.literal import literal_synflow
from prune import Probe, prune, save_masks
from train.models import build

NETWORKS = {  # name -> model, shape of an input, classes
    "mlp": ("mlp", (1, 8, 8), 10),
    "vgg16": ("vgg16", (3, 32, 32), 100),
    "resnet18": ("resnet18", (3, 64, 64), 200),
    "vgg19": ("vgg19-plain", (3, 224, 224), 1000),
    "resnet50": ("torchvision:resnet50", (3, 224, 224), 1000),
}


class Job(NamedTuple):
    """What one process is to do."""

    name: str  # a key of CONTENDERS
    network: str  # a key of NETWORKS
    dtype: str = "float64"
    steps: int = 100
    compression: float = 100
    device: str = "cpu"
    masks: str | None = None  # where to save the masks


def literal(model: nn.Module, job: Job) -> dict[str, Tensor]:
    """(a) A straightforward Algorithm 1."""
    shape, dtype = NETWORKS[job.network][1], getattr(torch, job.dtype)
    return literal_synflow(model, shape, job.compression, job.steps, dtype)


def ours(model: nn.Module, job: Job) -> dict[str, Tensor]:
    """(b) `prune`."""
    probe, dtype = Probe(NETWORKS[job.network][1]), getattr(torch, job.dtype)
    return prune(model, "synflow", probe, job.compression, steps=job.steps, score_dtype=dtype)


def certified(model: nn.Module, job: Job) -> dict[str, Tensor]:
    """(b) `prune` in as few steps as Theorem 4 allows."""
    probe, dtype = Probe(NETWORKS[job.network][1]), getattr(torch, job.dtype)
    return prune(model, "synflow", probe, job.compression, schedule="certified", score_dtype=dtype)


def passes(model: nn.Module, job: Job) -> None:
    """(c) As many plain forward and backward passes as there are steps."""
    dtype = getattr(torch, job.dtype)
    model = model.to(dtype).eval()
    ones = torch.ones(1, *NETWORKS[job.network][1], dtype=dtype, device=job.device)
    for _ in range(job.steps):
        model.zero_grad()
        model(ones).sum().backward()


CONTENDERS: dict[str, Callable] = {
    "literal": literal,
    "ours": ours,
    "certified": certified,
    "passes": passes,
}


def network(job: Job) -> nn.Module:
    """The job's network with the weights of seed 0."""
    torch.manual_seed(0)
    return build(*NETWORKS[job.network]).to(job.device)


def synchronised(device: str) -> float:
    """The time, once the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_mib(device: str) -> float:
    """The most memory that was in use: of the process, or what was allocated on the GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # kB on Linux


def measure(job: Job) -> dict:
    """Do the job once on a small network to warm up, then for real."""
    if job.device.startswith("cuda"):
        warm = job._replace(network="mlp", masks=None)
        CONTENDERS[job.name](network(warm), warm)
    model = network(job)
    start = synchronised(job.device)
    masks = CONTENDERS[job.name](model, job)
    seconds = synchronised(job.device) - start
    if job.masks:
        save_masks(masks, job.masks)
    return {"seconds": seconds, "cpu": time.process_time(), "peak_mib": peak_mib(job.device)}


if __name__ == "__main__":
    print(json.dumps(measure(Job(**json.loads(sys.argv[1])))))
