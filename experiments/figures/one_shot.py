"""What Figs 2, 3 and 4 need of a network's scores before it is pruned: one cell per pruner."""

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

PRUNERS = ("random", "magnitude", "snip", "grasp", "synflow")
SUBSTITUTES = ("fashion-mnist", "digits")  # the second comes with the project
SUBSTITUTE_IMAGES = 48  # three batches: 100 of 224 px would take half an hour of two cores


def compute(config: RunConfig, progress: Progress) -> None:
    """Score the network once with each pruner, and save what the figures read of it.

    Cells that are saved already are skipped. SNIP and GraSP look at `config.dataset` where it
    is on disk, otherwise at a substitute, and the cell says which.
    """
    for pruner in PRUNERS:
        if not path(config, pruner).exists():
            progress.note(f"scoring with {pruner}")
            cells.save(path(config, pruner), _measure(config, pruner, progress))


def path(config: RunConfig, pruner: str) -> Path:
    """The file of the cell."""
    return cells.folder(config) / f"scores-{pruner}.json"


def _measure(config: RunConfig, pruner: str, progress: Progress) -> dict:
    model = initial_model(config)
    masks = dense_masks(model)
    batches, images = (), None
    if pruner in READS_DATA:
        batches, images = scoring_images(config, progress)
    generator = torch.Generator().manual_seed(seed_of(config.seed, RANDOM_SCORES))
    probe = Probe(probe_shape(config), batches, generator, DTYPES[config.score_dtype])
    scores = SCORES[pruner](model, masks, probe)
    return {
        "pruner": pruner,
        "images": images,
        "layers": _layers(model, scores),
        "units": [list(pair) for pair in units(scores)],
        "kept": dict(_kept(scores, reverse=False)),
        # The published GraSP kept the other end of its ranking.
        "kept_reversed": dict(_kept(scores, reverse=True)) if pruner == "grasp" else None,
    }


def _layers(model: nn.Module, scores: Scores) -> list[dict]:
    """Sum and absolute sum of the scores, and sizes without and with the layer's biases."""
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
    """(S_in, S_out) of each channel between two convolutions of a chain (Theorem 1).

    S_in is the total score of the weights into the channel, S_out of those out of it. A bias
    has no score here; at 0, as at initialisation, it would add none.
    """
    convolutions = [S for S in scores.values() if S.dim() == 4]
    for before, after in pairwise(convolutions):
        S_in = before.sum(dim=(1, 2, 3), dtype=torch.float64)  # (channels,)
        S_out = after.sum(dim=(0, 2, 3), dtype=torch.float64)  # (channels,)
        yield from zip(S_in.tolist(), S_out.tolist())


def _kept(scores: Scores, reverse: bool) -> Iterator[tuple[str, list[int]]]:
    """(compression, weights kept in each tensor) for compressions 2^x, as far as any are left.

    One scoring ranks the weights once for all, so each selection is made among the last.
    """
    if bad := [name for name, S in scores.items() if not S.isfinite().all()]:
        raise FloatingPointError(f"scores of {', '.join(bad)} are not finite")
    sizes = [S.numel() for S in scores.values()]
    flat = torch.cat([S.flatten() for S in scores.values()])  # of the survivors, tensor by tensor
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
    """Batches of training images at the network's size, to be read once, which tick; and what
    they are, in words.

    10 x classes of `config.dataset` where it is on disk, else a few of a substitute, whose few
    labels are taken as the first of the network's.
    """
    name = next(n for n in (config.dataset, *SUBSTITUTES) if _is_here(n, config))
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


def _is_here(name: str, config: RunConfig) -> bool:
    try:
        locate(name, Path(config.data_dir))
    except FileNotFoundError:
        return False
    return True


def _resized(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Bilinear, to the network's height and width."""
    if images.shape[1:] == shape:
        return images
    return F.interpolate(images, shape[1:], mode="bilinear", antialias=True)


def images_note(config: RunConfig) -> str:
    """What SNIP and GraSP looked at, for a caption; empty where they were not computed."""
    found = {p: cells.load(path(config, p)) for p in PRUNERS if p in READS_DATA}
    seen = {style.LOOKS[pruner].label: cell["images"] for pruner, cell in found.items() if cell}
    if not seen:
        return ""
    return f"{' and '.join(seen)} scored on {' and '.join(dict.fromkeys(seen.values()))}."
