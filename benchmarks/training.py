"""`python -m benchmarks training`: the cost of a training step, and of making batches.

The steps are masked ones at compression 10, and those of what SynFlow leaves of a network.

Ours and a plain version alternate in one process, step by step or epoch by epoch. A ratio is of two
times of the same round, so other work on the machine disturbs both. On a CPU the processor time of
one thread is measured. The process keeps freed memory: otherwise random page faults add up to a
tenth of a step.
"""

import copy
import time
from collections.abc import Callable, Iterator
from statistics import median

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

from benchmarks.rounds import heading, keep, machine, named, row, to_json
from experiments.checks.pictures import random_task
from prune import Probe, apply, prune
from prune.compact import trainable
from train.batches import Task, training_batches
from train.data import known
from train.loop import sgd, step
from train.models import build
from train.prepared import keep_freed_memory, prepared
from train.recipes import paper

BATCH = 128
# name -> width, on images of CIFAR-10
NETWORKS = {"vgg16": 0.5, "resnet18": 0.25, "resnet20": 1.0, "mlp": 1.0}
COMPACTED = {"vgg16": 64, "resnet18": 32}  # name -> batch, at full width and 32 px
COMPRESSIONS = (10, 100, 1000)
SHAPE = (3, 32, 32)
Work = Callable[[], object]
Times = list[tuple[float, float]]  # (ours, theirs) of each round


def timed(work: Work, device: torch.device) -> float:
    """Measure the seconds until the device has finished the work."""
    if device.type == "cuda":
        return _timed_on_cuda(work, device)
    start = time.process_time()
    work()
    return time.process_time() - start


def _timed_on_cuda(work: Work, device: torch.device) -> float:
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def alternated(ours: Work, theirs: Work, rounds: int, device: torch.device) -> Times:
    """Time both once in each round; the order changes from round to round."""
    ours()  # the first calls allocate memory and choose kernels
    theirs()
    pairs = []
    for number in range(rounds):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        seconds = {work: timed(work, device) for work in order}
        pairs.append((seconds[ours], seconds[theirs]))
    return pairs


def report(name: str, pairs: Times) -> None:
    """Print one row of a Markdown table: medians, and the quartiles of the ratio."""
    ratios = np.quantile([a / b for a, b in pairs], (0.25, 0.5, 0.75))
    ours, theirs = (1e3 * median(column) for column in zip(*pairs, strict=True))
    spread = " / ".join(f"{r:.3f}" for r in ratios)
    row(name, f"{ours:,.1f}", f"{theirs:,.1f}", spread)


def plain_step(model: nn.Module, inputs: Tensor, labels: Tensor) -> Work:
    """Make an unpruned training step in plain PyTorch."""
    recipe = paper("vgg16", "cifar10")
    optimizer = torch.optim.SGD(
        model.parameters(), 1e-3, 0.9, weight_decay=recipe.weight_decay, nesterov=True
    )

    def work() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return work


def masked_step(model: nn.Module, inputs: Tensor, labels: Tensor) -> Work:
    """Make a training step of `train.loop`, with masks of compression 10."""
    apply(model, prune(model, "magnitude", Probe(tuple(inputs.shape[1:])), compression=10))
    return our_step(model, inputs, labels)


def our_step(model: nn.Module, inputs: Tensor, labels: Tensor) -> Work:
    """Make a training step of `train.loop`."""
    optimizer = sgd(model, paper("vgg16", "cifar10"))
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    return lambda: step(model, optimizer, inputs, labels, len(labels))


def steps(name: str, width: float, rounds: int, device: torch.device) -> Times:
    """Time a step of the pruned network and one of the same network unpruned.

    New networks are built for every two rounds, since their place in memory has a larger effect
    than the masks.
    """
    pairs: Times = []
    while len(pairs) < rounds:
        dense = build(name, (3, 32, 32), 10, width).to(device).train()
        inputs = torch.randn(BATCH, 3, 32, 32, device=device)
        labels = torch.randint(0, 10, (BATCH,), device=device)
        pruned = copy.deepcopy(dense)
        if len(pairs) // 2 % 2 == 0:  # either may be the copy
            dense, pruned = pruned, dense
        ours, theirs = masked_step(pruned, inputs, labels), plain_step(dense, inputs, labels)
        pairs += alternated(ours, theirs, 2, device)
    return pairs


def compacted(
    name: str, batch: int, compression: float, rounds: int, device: torch.device
) -> Times:
    """Time a step of what SynFlow leaves of a network, as `run` trains it, and a dense step."""
    dense = build(name, SHAPE, 10).to(device).train()
    masks = prune(dense, "synflow", Probe(SHAPE), compression)
    small, _ = trainable(dense, masks, torch.zeros(2, *SHAPE, device=device))
    inputs = torch.randn(batch, *SHAPE, device=device)
    labels = torch.randint(0, 10, (batch,), device=device)
    ours = our_step(prepared(small), inputs, labels)
    return alternated(ours, plain_step(prepared(dense), inputs, labels), rounds, device)


def one_by_one(images: list[Image.Image], labels: list[int], device: torch.device) -> None:
    """Make the batches of an epoch by torchvision's transforms, image by image."""
    dataset = known("cifar10")
    augmented = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(dataset.mean, dataset.std),
        ]
    )
    for rows in torch.randperm(len(images)).split(BATCH):
        torch.stack([augmented(images[row]) for row in rows.tolist()]).to(device)
        torch.tensor([labels[row] for row in rows.tolist()], device=device)


def epoch(data: Task) -> None:
    """Make the batches of an epoch as the training loop does."""
    for _ in training_batches(data, BATCH, seed=0, epoch=0):
        pass


def pipelines(images: int, rounds: int, device: torch.device) -> Times:
    """Time the batches of an epoch, augmented as whole batches and image by image."""
    data = random_task(images, device)
    pixels = data.train.images.permute(0, 2, 3, 1).cpu().numpy()
    pictures = [Image.fromarray(array) for array in pixels]
    labels = data.train.labels.tolist()

    def ours() -> None:
        epoch(data)

    def theirs() -> None:
        one_by_one(pictures, labels, device)

    return alternated(ours, theirs, rounds, device)


@click.command("training", help=__doc__)
@click.option("--device", default="cpu", show_default=True)
@click.option("--rounds", default=15, show_default=True, help="Of steps; a fifth of epochs.")
@click.option("--images", default=50_000, show_default=True, help="Images in an epoch of batches.")
@named(NETWORKS)
@click.option("--only-compacted", is_flag=True, help="Only the steps of what SynFlow leaves.")
@to_json
def main(device, rounds, images, networks, only_compacted, file) -> None:
    place = torch.device(device)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    title, kept = f"{machine(device, busy=True)}; {rounds} rounds", {}
    click.echo(f"{title}\n")
    heading("what", "ours, ms", "theirs, ms", "ours / theirs: quartiles")
    for name, pairs in measurements(networks, rounds, images, only_compacted, place):
        kept[name] = pairs
        keep(file, title, kept)
        report(name, pairs)


def measurements(
    networks: list[str], rounds: int, images: int, only_compacted: bool, device: torch.device
) -> Iterator[tuple[str, Times]]:
    """Measure row by row: compacted and masked steps, and batches; yield name and times."""
    for name, batch in COMPACTED.items():
        for compression in COMPRESSIONS if name in networks else ():
            what = f"what is left of {name} at {compression}, batch {batch}"
            yield what, compacted(name, batch, compression, rounds, device)
    if only_compacted:
        return
    for name in networks:
        width = NETWORKS[name]
        yield f"step, {name} x {width:g}", steps(name, width, rounds, device)
    yield f"batches of {images:,} images", pipelines(images, max(1, rounds // 5), device)


if __name__ == "__main__":
    main()
