"""A physically smaller network from a finished run, and its speed on this machine."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.runs.build import probe_shape
from experiments.runs.files import owned
from experiments.runs.flops import flops_of
from experiments.runs.inspection import Checked, checked, network
from experiments.runs.progress import Progress, Silent
from prune.compact import compact
from train.files import write_whole

COMPACT = "compact.pt2"
BATCHES = (1, 128)
TRIES, ROUNDS = 3, 9
TURNS = 1 + TRIES + 2 * ROUNDS  # measurements for a size of batch
TOLERANCE = 1e-9  # of the largest output, in float64
Pair = tuple[float, float]  # of the masked network, of the compact one


@dataclass(frozen=True)
class Export:
    """The saved file, and a comparison of the two networks."""

    path: Path
    parameters: Pair
    flops: Pair  # of one image, multiplications and additions
    seconds: dict[int, list[Pair]]  # batch size -> rounds; in each, both are timed in turn
    difference: float  # of the outputs, relative to the largest, in float64


def export(
    directory: Path,
    device: str,
    model: str | None = None,
    dataset: str | None = None,
    progress: Progress | None = None,
) -> Export:
    """Remove the channels that a run's network does not need, save the rest, and time it.

    The file is a torch.export program for batches of any size:
    `torch.export.load(path).module()` runs it without this project.

    Args:
        directory: Of a finished run; without epochs its network is exported untrained.
        device: The network is timed and saved on it.
        model: As for `inspect`.
        dataset: Likewise.
        progress: Shows how far it is; None shows nothing.

    Raises:
        FileNotFoundError: If a file of the run is missing.
        ValueError: As `inspect`, or if the network cannot be traced.
        BlockingIOError: If another process works on this run: it would disturb the times.
        OSError: If the file cannot be written.
    """
    progress = progress or Silent()
    progress.begin("checking the run", None)
    run = checked(directory, model, dataset)
    with owned(directory):
        return _export(directory, run, device, progress)


def _export(directory: Path, run: Checked, device: str, progress: Progress) -> Export:
    progress.begin("making the smaller network", None)
    masked = network(directory, run, device)
    images = torch.randn(max(BATCHES), *probe_shape(run.config), device=device)
    small = compact(masked, images[:2])
    difference = _difference(masked, images[:4])
    if not difference <= TOLERANCE:
        raise RuntimeError(f"the smaller network's outputs are off by {difference:.1e}")
    progress.begin("saving it", None)
    _save(small, images[:2], directory / COMPACT)
    progress.begin("timing both", len(BATCHES) * TURNS)
    both = (masked, small)
    return Export(
        directory / COMPACT,
        tuple(sum(p.numel() for p in net.parameters()) for net in both),
        tuple(flops_of(net, images[:1]) for net in both),
        {n: _turns(both, images[:n], progress.tick) for n in BATCHES},
        difference,
    )


@torch.no_grad()
def _difference(masked: nn.Module, images: Tensor) -> float:
    """Compare in float64: in float32 the biases into which constants are folded are rounded."""
    wide, x = copy.deepcopy(masked).double(), images.double()
    a, b = wide(x), compact(wide, x)(x)
    return ((a - b).abs().max() / a.abs().max().clamp(min=1e-300)).item()


def _save(net: nn.Module, images: Tensor, path: Path) -> None:
    """Write a torch.export program for batches of any size."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (images,), dynamic_shapes=({0: batch},))
    write_whole(path, lambda file: torch.export.save(program, file))


@torch.no_grad()
def _turns(
    nets: tuple[nn.Module, nn.Module], images: Tensor, tick: Callable[[], None]
) -> list[Pair]:
    """Seconds of a forward pass of each, timed in turn: other work then disturbs both alike.

    `tick` is called before each of TURNS measurements.
    """

    def seconds(net: nn.Module, passes: int = 1) -> float:
        tick()
        return _seconds(net, images, passes)

    seconds(nets[1])
    passes = 1 + int(0.02 / min(seconds(nets[0]) for _ in range(TRIES)))  # some 20 ms
    return [tuple(seconds(net, passes) for net in nets) for _ in range(ROUNDS)]


def _seconds(net: nn.Module, images: Tensor, passes: int) -> float:
    start = time.perf_counter()
    for _ in range(passes):
        out = net(images)
    out.sum().item()  # waits for the device
    return (time.perf_counter() - start) / passes
