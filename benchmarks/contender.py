"""One contender in a process of its own: `python -m benchmarks.contender JSON`, of a Job.

Prints one JSON line: seconds of the timed part, peak memory, and what the contender says of itself.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

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

    contender: str  # a key of CONTENDERS
    network: str  # a key of NETWORKS, or "mlp-WIDTH": three square layers
    dtype: str = "float64"  # of scores and passes; networks are float32
    steps: int = 100
    compression: float = 100
    batches: int = 4  # of 64 images, for scores that read data
    device: str = "cpu"
    busy: bool = False  # one thread, and its processor time: the machine has other work, too
    masks: str | None = None  # where to save the masks


def network(job: Job) -> tuple[nn.Module, tuple[int, ...], int]:
    """The job's network with the weights of seed 0; shape of an input, classes."""
    torch.manual_seed(0)
    if job.network.startswith("mlp-"):
        width = int(job.network.removeprefix("mlp-"))
        layers = [nn.Linear(width, width) for _ in range(3)]
        model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        return model.to(job.device), (width,), width
    name, shape, classes = NETWORKS[job.network]
    return build(name, shape, classes).to(job.device), shape, classes


def literal(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """(a) A straightforward Algorithm 1."""
    dtype = getattr(torch, job.dtype)
    masks = literal_synflow(model, shape, job.compression, job.steps, dtype)
    return {"masks": masks}


def ours(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """(b) `prune`."""
    dtype = getattr(torch, job.dtype)
    probe = Probe(shape)
    masks = prune(model, "synflow", probe, job.compression, steps=job.steps, score_dtype=dtype)
    return {"masks": masks}


def certified(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """(b) `prune` in as many steps as Theorem 4 asks for."""
    taken = []
    masks = prune(
        model,
        "synflow",
        Probe(shape),
        job.compression,
        schedule="certified",
        score_dtype=getattr(torch, job.dtype),
        report=lambda step: taken.append(step.step),
    )
    return {"masks": masks, "steps": len(taken)}


def passes(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """(c) As many plain forward and backward passes as there are steps."""
    model = model.to(getattr(torch, job.dtype)).eval()
    ones = torch.ones(1, *shape, dtype=getattr(torch, job.dtype), device=job.device)
    for _ in range(job.steps):
        model.zero_grad()
        model(ones).sum().backward()
    return {}


def _batches(job: Job, shape: tuple[int, ...], classes: int) -> list:
    """Random images and labels."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(64, *shape, generator=generator).to(job.device),
            torch.randint(classes, (64,), generator=generator).to(job.device),
        )
        for _ in range(job.batches)
    ]


def by_data(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """`prune` by SNIP or GraSP, once."""
    probe = Probe(shape, _batches(job, shape, classes))
    dtype = getattr(torch, job.dtype)
    return {"masks": prune(model, job.contender, probe, job.compression, score_dtype=dtype)}


def backward(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """One plain backward pass for each batch; "double": one through the gradient's norm."""
    model = model.to(getattr(torch, job.dtype)).eval()
    weights = [p for p in model.parameters() if p.dim() > 1]
    for inputs, labels in _batches(job, shape, classes):
        loss = F.cross_entropy(model(inputs.to(weights[0].dtype)), labels)
        if job.contender == "double":
            gradients = torch.autograd.grad(loss, weights, create_graph=True)
            loss = sum(g.square().sum() for g in gradients) / 2
        torch.autograd.grad(loss, weights)
    return {}


CONTENDERS: dict[str, Callable[..., dict]] = {
    "literal": literal,
    "ours": ours,
    "certified": certified,
    "passes": passes,
    "snip": by_data,
    "grasp": by_data,
    "backward": backward,
    "double": backward,
}


def _clock(job: Job) -> float:
    """The time, once the device has done what it was given."""
    if job.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.process_time() if job.busy else time.perf_counter()


def _peak_mib(device: str) -> float:
    """The most memory that was in use: by the process, or allocated on the GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # kB on Linux


def measured(job: Job) -> dict:
    """Do the job: a little of it on a small network to warm up, then for real."""
    if job.busy:
        torch.set_num_threads(1)
    contender = CONTENDERS[job.contender]
    warm = job._replace(network="mlp", steps=2, compression=2, batches=1)
    contender(warm, *network(warm))
    subject = network(job)
    idle = _peak_mib(job.device)
    start = _clock(job)
    said = contender(job, *subject)
    seconds = _clock(job) - start
    peak = _peak_mib(job.device)
    masks = said.pop("masks", None)
    if job.masks:
        save_masks(masks, job.masks)
    return {"seconds": seconds, "idle_mib": idle, "peak_mib": peak} | said


if __name__ == "__main__":
    print(json.dumps(measured(Job(**json.loads(sys.argv[1])))))
