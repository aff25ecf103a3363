"""Summaries of a network's scores before pruning, for Figs 2, 3 and 4: one cell per pruner."""

from collections.abc import Iterator
from itertools import pairwise
from math import ceil
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.config import DTYPES, RunConfig
from experiments.figures import cells, style
from experiments.runs.build import RANDOM_SCORES, SCORING_BATCH, SUBSET, initial_model, probe_shape
from experiments.runs.progress import Progress, counter
from prune import SCORES, Probe
from prune.masks import Scores, dense_masks, top
from prune.schedules import target
from prune.scores import READS_DATA
from train.batches import plain_batches, subset, task
from train.data import known, load, locate
from train.seeds import seed_of

PRUNERS = ("random", "magnitude", "snip", "grasp-text", "synflow")
SUBSTITUTES = ("fashion-mnist", "digits")  # digits are part of this repository
SUBSTITUTE_IMAGES = 48  # three batches: 100 of 224 px would take half an hour of two cores


def compute(config: RunConfig, progress: Progress) -> None:
    """Score the network once with each pruner, and save a summary of the scores as a cell.

    Saved cells are skipped. SNIP and GraSP read `config.dataset` if it is on disk, and otherwise a
    substitute; the cell names the images.
    """
    for pruner in PRUNERS:
        if not cell_path(config, pruner).exists():
            progress.note(f"scoring with {pruner}")
            cells.save(cell_path(config, pruner), _summary(config, pruner, progress))


def cell_path(config: RunConfig, pruner: str) -> Path:
    """Name the file of a pruner's cell."""
    return cells.folder(config) / f"scores-{pruner}.json"


def _summary(config: RunConfig, pruner: str, progress: Progress) -> dict:
    model = initial_model(config)
    masks = dense_masks(model)
    probe, images = scoring_probe(config, pruner, progress)
    scores = SCORES[pruner](model, masks, probe)
    return {
        "pruner": pruner,
        "images": images,
        "layers": _layers(model, scores),
        "units": [list(pair) for pair in units(scores)],
        "kept": dict(kept_counts(scores, reverse=False)),
        # The published GraSP is that of the text, and kept the other end of its ranking.
        "kept_reversed": dict(kept_counts(scores, reverse=True))
        if pruner == "grasp-text"
        else None,
    }


def scoring_probe(config: RunConfig, pruner: str, progress: Progress) -> tuple[Probe, str | None]:
    """Make the probe of a score, and describe the images that it reads.

    Its batches can be read once, so that many large images need not be in memory together.
    """
    batches, images = (), None
    if pruner in READS_DATA:
        batches, images = scoring_images(config, progress)
    generator = torch.Generator().manual_seed(seed_of(config.seed, RANDOM_SCORES))
    return Probe(probe_shape(config), batches, generator, DTYPES[config.score_dtype]), images


def _layers(model: nn.Module, scores: Scores) -> list[dict]:
    """Summarise each layer: its score sums, and its size without and with biases."""
    rows = []
    for name, S in scores.items():
        bias = model.get_submodule(name.rpartition(".")[0]).bias
        rows.append(
            {
                "name": name,
                "size": S.numel(),
                "size_with_biases": S.numel() + (0 if bias is None else bias.numel()),
                "score_sum": S.sum(dtype=torch.float64).item(),
                "score_abs_sum": S.abs().sum(dtype=torch.float64).item(),
            }
        )
    return rows


def units(scores: Scores) -> Iterator[tuple[float, float]]:
    """Sum (S_in, S_out) of each channel between two convolutions of a chain (Theorem 1).

    S_in is the total score of the weights into the channel, S_out that of the weights out of it.
    Biases have no score here; they are 0 at initialisation, so their score would be 0.
    """
    convolutions = [S for S in scores.values() if S.dim() == 4]
    for before, after in pairwise(convolutions):
        S_in = before.sum(dim=(1, 2, 3), dtype=torch.float64)  # (channels,)
        S_out = after.sum(dim=(0, 2, 3), dtype=torch.float64)  # (channels,)
        yield from zip(S_in.tolist(), S_out.tolist(), strict=True)


def kept_counts(scores: Scores, reverse: bool) -> Iterator[tuple[str, list[int]]]:
    """Count the weights kept in each tensor at compressions 1, 2, 4, ..., up to N / L.

    N is the number of weights, L that of tensors. The scores do not change, so each selection is
    made among the weights that the previous one kept.

    Yields:
        The compression, as text, and the counts by tensor.
    """
    if bad := [name for name, S in scores.items() if not S.isfinite().all()]:
        raise FloatingPointError(f"scores of {', '.join(bad)} are not finite")
    sizes = [S.numel() for S in scores.values()]
    flat = torch.cat([S.flatten() for S in scores.values()])  # scores of the kept weights
    if reverse:
        flat = -flat
    compression, N = 1, sum(sizes)
    while compression <= N / len(sizes):
        chosen = top(flat, target(N, compression))
        sizes = [int(part.sum()) for part in chosen.split(sizes)]
        flat = flat[chosen]
        yield str(compression), sizes
        compression *= 2


def scoring_images(
    config: RunConfig, progress: Progress
) -> tuple[Iterator[tuple[Tensor, Tensor]], str]:
    """Load training images for SNIP and GraSP, resized to the network's inputs.

    These are 10 x classes images of `config.dataset` if it is on disk, and otherwise a few of a
    substitute, whose labels become the first labels of the network.

    Returns:
        An iterator over batches (images, labels) that reports progress, and a description of the
        images.
    """
    name = next(n for n in (config.dataset, *SUBSTITUTES) if _is_on_disk(n, config))
    shape, dataset = probe_shape(config), known(name)
    splits = load(name, Path(config.data_dir), counter(progress, "reading images"))
    shown = shape if name == config.dataset else (shape[0], *dataset.shape[1:])
    data = task(splits, dataset, shown, torch.device(config.device))
    count = 10 * dataset.classes if name == config.dataset else SUBSTITUTE_IMAGES
    chosen = subset(data.train, count, seed_of(config.seed, SUBSET))
    batch_size = SCORING_BATCH.get(config.dataset, 256)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        progress.begin("scoring batches", ceil(len(chosen.labels) / batch_size))
        for inputs, labels in plain_batches(chosen, data, batch_size):
            yield _resized(inputs, shape), labels
            progress.tick()

    resized = f" resized to {shape[1]} px" if shown != shape else ""
    return batches(), f"{len(chosen.labels)} images of {name}{resized}"


def _is_on_disk(name: str, config: RunConfig) -> bool:
    try:
        locate(name, Path(config.data_dir))
    except FileNotFoundError:
        return False
    return True


def _resized(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Resize images bilinearly to the height and width of `shape`, a (C, H, W)."""
    if images.shape[1:] == shape:
        return images
    return F.interpolate(images, shape[1:], mode="bilinear", antialias=True)


def images_note(config: RunConfig) -> str:
    """Name the images that SNIP and GraSP read, for a caption; empty without their cells."""
    found = {p: cells.load(cell_path(config, p)) for p in PRUNERS if p in READS_DATA}
    seen = {style.LOOKS[pruner].label: cell["images"] for pruner, cell in found.items() if cell}
    if not seen:
        return ""
    return f"{' and '.join(seen)} scored on {' and '.join(dict.fromkeys(seen.values()))}."
