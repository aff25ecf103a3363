"""One experiment, top to bottom: data -> model -> scores -> masks -> training -> result."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.config import DTYPES, RunConfig
from experiments.runs import files
from experiments.runs.build import REINIT, SHUFFLE, images, initial_model, probe, probe_shape
from experiments.runs.facts import fingerprint, layer_rows, pruning_facts, step_row, weight_rows
from experiments.runs.pack import unpack
from experiments.runs.progress import Progress, Silent
from experiments.runs.sharing import TRAINED, beginning, take
from prune import SCORES, Step, apply, load_masks, prune, save_masks
from prune.ablation import inverted, shuffled
from prune.masks import Masks
from prune.scores import Score
from train.batches import Task
from train.data import locate
from train.loop import evaluate, train
from train.prepared import prepared
from train.ranks import check_same, joined, of_first, rank
from train.seeds import seed_of

# (config, data, progress) -> the network with its masks, what is said of them, seconds it took
Pruned = Callable[[RunConfig, Task | None, Progress], tuple[nn.Module, dict, float]]


def run(config: RunConfig, progress: Progress | None = None) -> Path:
    """Prune at initialisation, train, evaluate, save; go on where an earlier call stopped.

    A finished run is not repeated, and pruning that is saved is not done again. Everything
    random comes from the seed, so equal configurations give equal files, timings aside.
    Under torchrun all ranks call it; the first prunes and writes.

    Args:
        config: From `resolve`.
        progress: Told what happens; None for silence.

    Returns:
        The path of result.json.

    Raises:
        FileNotFoundError: If the data set is needed and not there; nothing is built.
        ValueError: If the model does not suit the data, or a file of the run is damaged.
        FloatingPointError: If scores or the training loss are not finite.
        OSError: If the results folder cannot be written, another process is at this run, or
            another rank fails.
    """
    return experiment(config, progress, _pruned_at_initialisation)


def experiment(config: RunConfig, progress: Progress | None, pruned: Pruned) -> Path:
    """What `run` does, with `pruned` to make the network that is trained last."""
    progress = progress or Silent()
    path = config.directory / files.RESULT
    with joined(config.device):
        if of_first(lambda: unpack(config.directory)):
            files.read_result(path)
            return path
        if config.reads_data:
            locate(config.dataset, Path(config.data_dir))
        with files.owned(config.directory) if rank() == 0 else nullcontext():
            data = images(config, progress) if config.reads_data else None
            model, facts, spent = pruned(config, data, progress)
            accuracies, history = fit(config, config.directory, model, data, progress)
            measured = {**facts, "score_dtype": config.score_dtype, **accuracies}
            measured["seconds"] = {"prune": spent, "train": seconds_of(history)}
            if rank() == 0:
                files.write_result(path, config, measured)
    return path


def _pruned_at_initialisation(
    config: RunConfig, data: Task | None, progress: Progress
) -> tuple[nn.Module, dict, float]:
    model = initial_model(config)
    masks, steps = of_first(lambda: _prune_or_load(config, model, data, progress))
    facts = pruning_facts(model, masks, steps, probe_shape(config))
    if config.ablate == "reinit":
        model = initial_model(config, REINIT)
    apply_everywhere(model, masks)
    return model, facts, seconds_of(steps)


def apply_everywhere(model: nn.Module, masks: Masks) -> None:
    """Apply the masks on this rank; a ValueError on all of them unless they have the same."""
    check_same("masks", fingerprint(masks))
    apply(model, masks)


def _prune_or_load(
    config: RunConfig, model: nn.Module, data: Task | None, progress: Progress
) -> tuple[dict[str, Tensor], list[dict[str, str]]]:
    """The masks and one row for each step, as saved; computed and saved first if they are not."""
    directory = config.directory
    if not (directory / files.MASKS).exists():
        masks, steps, scores = _prune(config, model, data, progress)
        layers = layer_rows(model, masks, scores)
        files.write_rows(directory / files.LAYERS, files.LAYER_COLUMNS, layers)
        files.write_rows(directory / files.STEPS, files.STEP_COLUMNS, steps)
        save_masks(masks, directory / files.MASKS, owner(config))
    masks = load_masks(directory / files.MASKS, model)
    files.check_owner(directory / files.MASKS, config)
    steps = files.read_rows(directory / files.STEPS, files.STEP_COLUMNS)
    return masks, steps


def owner(config: RunConfig) -> dict[str, str]:
    """What a mask file says of the run that made it."""
    return {"run": config.directory.name, "config": json.dumps(config.decisive)}


def _prune(
    config: RunConfig, model: nn.Module, data: Task | None, progress: Progress
) -> tuple[dict[str, Tensor], list[dict], dict[str, Tensor] | None]:
    rows, last, clock = [], [None], [time.perf_counter()]

    def report(step: Step) -> None:
        now = time.perf_counter()
        row = step_row(step, now - clock[0])
        if config.ablate == "shuffle":  # Theorem 4 says nothing of the masks that it leaves
            row["prune_cut_ratio"] = None
        rows.append(row)
        last[0], clock[0] = step, now
        progress.tick()

    progress.begin(f"pruning to 1/{config.compression:g}", config.steps)
    masks = prune(
        model,
        _score(config),
        probe(config, data),
        config.compression,
        steps=config.steps,
        schedule=config.schedule,
        scope=config.scope,
        score_dtype=DTYPES[config.score_dtype],
        report=report,
    )
    if config.ablate == "shuffle":
        masks = shuffled(masks, torch.Generator().manual_seed(seed_of(config.seed, SHUFFLE)))
    scores = last[0].scores if last[0] else None  # one scoring more; certified may take no step
    return masks, rows, scores


def _score(config: RunConfig) -> str | Score:
    return inverted(SCORES[config.pruner]) if config.ablate == "invert" else config.pruner


def fit(
    config: RunConfig, directory: Path, model: nn.Module, data: Task | None, progress: Progress
) -> tuple[dict, list[dict]]:
    """Accuracy before, best and after training; and the history, kept up to date in `directory`."""
    if config.epochs == 0:
        return {"untrained": None, "best": None, "final": None}, []
    net = prepared(model, config.precision, config.compile)
    untrained = evaluate(net, data)
    rows: list[dict] = []
    record = _recorder(config, directory, model)

    def report(row: dict) -> None:
        rows.append(row)
        if rank() == 0:
            files.write_rows(directory / files.HISTORY, files.HISTORY_COLUMNS, rows)
            record(row)
        progress.note(_epoch_line(rows, config.epochs))

    steps = -(-len(data.train.labels) // config.batch_size)
    progress.begin("training", config.epochs * steps)
    checkpoint, begun = directory / files.CHECKPOINT, beginning(config, model)
    may_share = rank() == 0 and not config.record_weights and not checkpoint.exists()
    if may_share and take(begun, directory, Path(config.results)):
        progress.note("another run did the same training; it is not repeated")
    history = train(net, data, config.training, config.seed, checkpoint, report, progress.tick)
    if rank() == 0:
        files.write_text(directory / TRAINED, begun)
    best = max(history, key=lambda row: row["top1"])  # the earliest, if several
    return {
        "untrained": untrained,
        "best": _accuracy(best),
        "final": _accuracy(history[-1]),
    }, history


def _recorder(config: RunConfig, directory: Path, model: nn.Module) -> Callable[[dict], None]:
    """Keeps weights.csv up to date, from the untrained network on; called after each epoch."""
    if not config.record_weights:
        return lambda row: None
    path = directory / files.WEIGHTS
    saved = path.exists()
    rows = files.read_rows(path, files.WEIGHT_COLUMNS) if saved else weight_rows(model, 0)

    def record(row: dict) -> None:
        if row["epoch"] > int(rows[-1]["epoch"]):  # else an earlier session recorded it
            rows.extend(weight_rows(model, row["epoch"]))
            files.write_rows(path, files.WEIGHT_COLUMNS, rows)

    return record


def _accuracy(row: dict) -> dict:
    return {"top1": row["top1"], "top5": row["top5"], "loss": row["test_loss"]}


def _epoch_line(rows: list[dict], epochs: int) -> str:
    row, seconds = rows[-1], seconds_of(rows) / len(rows)
    left = timedelta(seconds=round(seconds * (epochs - len(rows))))
    return (
        f"epoch {row['epoch']}/{epochs}  lr {row['lr']:g}  train loss {row['train_loss']:.4f}  "
        f"test loss {row['test_loss']:.4f}  top-1 {row['top1']:.2f} %  {left} left"
    )


def seconds_of(rows: list[dict]) -> float:
    """How long the rows, of steps or epochs, took together."""
    return sum(float(row["seconds"]) for row in rows)
