"""One job in a process of its own: `python -m benchmarks.job JSON`, with the fields of a Job.

It prints one JSON line: the seconds of the timed part, memory, and what the method reports.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
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
    """The work of one process."""

    method: str  # a key of METHODS
    network: str  # a key of NETWORKS, or "mlp-WIDTH": an MLP of three square layers
    dtype: str = "float64"  # of scores and passes; the networks are float32
    steps: int = 100
    compression: float = 100
    batches: int = 4  # for scores that read data
    images: int = 64  # of a batch
    device: str = "cpu"
    busy: bool = False  # for a machine with other work: time one thread, by its processor time
    masks: str | None = None  # the file for the masks


Network = tuple[nn.Module, tuple[int, ...], int]  # model, shape of an input, classes


def network(job: Job) -> Network:
    """Build the job's network, with the weights of seed 0."""
    torch.manual_seed(0)
    if job.network.startswith("mlp-"):
        width = int(job.network.removeprefix("mlp-"))
        layers = [nn.Linear(width, width) for _ in range(3)]
        model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        return model.to(job.device), (width,), width
    name, shape, classes = NETWORKS[job.network]
    return build(name, shape, classes).to(job.device), shape, classes


def literal(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """(a) Prune by a straightforward Algorithm 1."""
    dtype = getattr(torch, job.dtype)
    masks = literal_synflow(model, shape, job.compression, job.steps, dtype)
    return {"masks": masks}


def ours(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """(b) Prune by `prune`."""
    dtype = getattr(torch, job.dtype)
    probe = Probe(shape)
    masks = prune(model, "synflow", probe, job.compression, steps=job.steps, score_dtype=dtype)
    return {"masks": masks}


def certified(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """Prune by `prune` with the schedule `certified` (Theorem 4); report the number of steps."""
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
    """(c) Compute one plain forward and backward pass for each step."""
    model = model.to(getattr(torch, job.dtype)).eval()
    ones = torch.ones(1, *shape, dtype=getattr(torch, job.dtype), device=job.device)
    for _ in range(job.steps):
        model.zero_grad()
        model(ones).sum().backward()
    return {}


def _batches(job: Job, shape: tuple[int, ...], classes: int) -> list:
    """Draw batches of random images and labels."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(job.images, *shape, generator=generator).to(job.device),
            torch.randint(classes, (job.images,), generator=generator).to(job.device),
        )
        for _ in range(job.batches)
    ]


def by_data(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """Prune by SNIP or GraSP, in one step."""
    probe = Probe(shape, _batches(job, shape, classes))
    dtype = getattr(torch, job.dtype)
    return {"masks": prune(model, job.method, probe, job.compression, score_dtype=dtype)}


def backward(job: Job, model: nn.Module, shape: tuple[int, ...], classes: int) -> dict:
    """Compute a plain backward pass for each batch; "double": then one of the gradient's norm."""
    model = model.to(getattr(torch, job.dtype)).eval()
    weights = [p for p in model.parameters() if p.dim() > 1]
    for double in (False, True) if job.method == "double" else (False,):
        for inputs, labels in _batches(job, shape, classes):
            loss = F.cross_entropy(model(inputs.to(weights[0].dtype)), labels)
            if double:
                gradients = torch.autograd.grad(loss, weights, create_graph=True)
                loss = sum(g.square().sum() for g in gradients) / 2
            torch.autograd.grad(loss, weights)
    return {}


METHODS: dict[str, Callable[..., dict]] = {
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
    """Read the clock, after the device has finished its work."""
    if job.device.startswith("cuda"):
        torch.cuda.synchronize(job.device)
    return time.process_time() if job.busy else time.perf_counter()


def _peak_mib(device: str) -> float:
    """Read the peak memory since `_forget_peak`: of the process, or allocated on the GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) / 2**10  # of kB


def _forget_peak(device: str) -> None:
    """Forget the peak so far: of the warm-up, and of the process that started this one."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def measured(job: Job) -> dict:
    """Run the job, after a short warm-up on a small network."""
    if job.busy:
        torch.set_num_threads(1)
    method = METHODS[job.method]
    warm_up = job._replace(network="mlp", steps=2, compression=2, batches=1)
    method(warm_up, *network(warm_up))
    built = network(job)
    _forget_peak(job.device)
    idle = _peak_mib(job.device)
    start = _clock(job)
    reported = method(job, *built)
    seconds = _clock(job) - start
    peak = _peak_mib(job.device)
    masks = reported.pop("masks", None)
    if job.masks:
        save_masks(masks, job.masks)
    return {"seconds": seconds, "idle_mib": idle, "peak_mib": peak} | reported


if __name__ == "__main__":
    print(json.dumps(measured(Job(**json.loads(sys.argv[1])))))
