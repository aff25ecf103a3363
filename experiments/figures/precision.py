"""Figure `precision` (not of the paper): float32 masks depend on the convolution kernel.

Two masks of SynFlow are compared after each step by their intersection over union (IoU): the number
of weights that both keep over the number that at least one keeps.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from experiments.config import RunConfig
from experiments.figures import cells, collect, style
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.progress import Progress
from prune import Probe
from prune.fast.flow import synaptic_flow
from prune.masks import Masks, Scores, dense_masks, keep_top, size
from prune.schedules import exponential
from prune.scores import synflow  # the plain definition

NETWORKS = (("mlp", "digits"), ("vgg11", "cifar10"), ("vgg16", "cifar100"), ("resnet18", "cifar10"))
COMPRESSION, STEPS = 100, 100
CAPTION = (
    "Agreement (IoU) of SynFlow masks on the way to compression 100 in 100 steps, from the same "
    "initial weights. Kernels: torch's convolution, and a matrix product that adds in reverse."
)


class Unfolded(TorchFunctionMode):
    """Replace the convolution kernel by a matrix product that adds the terms in reverse order."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.conv2d:
            return _unfolded_conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _unfolded_conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    columns = F.unfold(x, weight.shape[2:], dilation, padding, stride)  # (n, C k k, positions)
    y = weight.flatten(1).flip(1) @ columns.flip(1)  # (n, C', positions)
    side = round(y.shape[2] ** 0.5)
    return y.view(*y.shape[:2], side, side) + (0 if bias is None else bias[:, None, None])


def _unfolded_synflow(model: nn.Module, masks: Masks, probe: Probe) -> Scores:
    with Unfolded():
        return synflow(model, masks, probe)


def _fast_synflow(model: nn.Module, masks: Masks, probe: Probe) -> Scores:
    return synaptic_flow(model, masks, probe).scores


WAYS: dict[str, tuple[Callable[[nn.Module, Masks, Probe], Scores], torch.dtype]] = {
    "float64": (synflow, torch.float64),
    "float64, other kernel": (_unfolded_synflow, torch.float64),
    "float64, prune.fast": (_fast_synflow, torch.float64),
    "float32": (synflow, torch.float32),
    "float32, other kernel": (_unfolded_synflow, torch.float32),
}
PAIRS = (
    ("float64", "float64, prune.fast"),
    ("float64", "float64, other kernel"),
    ("float32", "float64"),
    ("float32", "float32, other kernel"),
)
LOOKS = (  # of PAIRS: label, colour, marker, line
    ("float64: two implementations", "#111111", "o", "-"),
    ("float64: two kernels", "#56b4e9", "s", "--"),
    ("float32 and float64", "#e69f00", "^", "-."),
    ("float32: two kernels", style.SYNFLOW, "D", "-"),
)


def cell_path(config: RunConfig) -> Path:
    """Name the file of a network's cell."""
    return cells.folder(config) / f"precision-{COMPRESSION}-steps{STEPS}.json"


def compute(configs: Sequence[RunConfig], progress: Progress) -> None:
    """Prune each network in all ways, and save their agreement; skip saved cells."""
    missing = [config for config in configs if not cell_path(config).exists()]
    progress.begin("synflow steps", STEPS * len(missing))
    for config in missing:
        steps = []
        for row in agreement(initial_model(config), probe_shape(config), STEPS):
            steps.append(row)
            progress.tick()
        cell = {"model": config.model, "dataset": config.dataset, "iou": steps}
        cells.save(cell_path(config), cell)


def agreement(model: nn.Module, shape: tuple[int, ...], steps: int) -> Iterator[list[float]]:
    """Prune in all ways side by side; yield after each step the IoU of each pair in PAIRS."""
    masks = {way: dense_masks(model) for way in WAYS}
    N = size(masks["float64"])
    for step in range(1, steps + 1):
        keep = exponential(N, COMPRESSION, step, steps)
        for way, (score, dtype) in WAYS.items():
            scores = score(model, masks[way], Probe(shape, dtype=dtype))
            masks[way] = keep_top(scores, masks[way], keep)
        yield [iou(masks[a], masks[b]) for a, b in PAIRS]


def iou(a: Masks, b: Masks) -> float:
    """Divide the number of weights that both keep by the number that at least one keeps."""
    both = sum(int((a[name] & b[name]).sum()) for name in a)
    return both / sum(int((a[name] | b[name]).sum()) for name in a)


def draw(configs: Sequence[RunConfig]) -> style.Drawing:
    """Draw the networks whose cells are saved.

    Raises:
        FileNotFoundError: If there is none.
    """
    loaded = {config: cells.load(cell_path(config)) for config in configs}
    found = {config: cell for config, cell in loaded.items() if cell is not None}
    if not found:
        raise cells.nothing(configs[0], "precision")
    figure, axes = style.grid(len(found), CAPTION, 2.4, columns=2, sharey=True)
    for axis, (config, cell) in zip(axes, found.items(), strict=True):
        _panel(axis, cell["iou"])
        style.title(axis, collect.name(config.model, config.width, config.dataset))
    style.label_all(axes, "step", "IoU of the masks")
    style.legend_above(figure, axes)
    return style.Drawing(figure, list(_rows(found)), list(_notes(found)))


def _panel(axis, steps: list[list[float]]) -> None:
    """Draw one curve for each of PAIRS; `steps` holds their IoU after each step."""
    curves = zip(*steps, strict=True)
    for (label, color, marker, line), curve in zip(LOOKS, curves, strict=True):
        axis.plot(range(1, len(curve) + 1), curve, line, color=color, marker=marker, ms=4,
                  mew=0, markevery=(len(curve) // 10, len(curve) // 5), lw=1.4,
                  label=label)  # fmt: skip


def _by_label(agreements: list[float]) -> dict[str, float]:
    labels = (label for label, *_ in LOOKS)
    return dict(zip(labels, agreements, strict=True))


def _rows(found: dict[RunConfig, dict]) -> Iterator[dict]:
    for config, cell in found.items():
        for step, agreements in enumerate(cell["iou"], 1):
            row = {
                "model": config.model,
                "dataset": config.dataset,
                "width": config.width,
                "seed": config.seed,
                "step": step,
            }
            yield row | _by_label(agreements)


def _notes(found: dict[RunConfig, dict]) -> Iterator[str]:
    for config, cell in found.items():
        pairs = _by_label(cell["iou"][-1]).items()
        ends = ", ".join(f"{label} {value:.4f}" for label, value in pairs)
        yield f"{config.model} on {config.dataset}, IoU after the last step: {ends}"
