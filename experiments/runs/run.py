"""One experiment, top to bottom: data -> model -> scores -> masks -> training -> result."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments.config import DTYPES, RunConfig
from experiments.pruners import score_of
from experiments.runs import files
from experiments.runs.beforehand import check_network
from experiments.runs.build import images, initial_model, probe, probe_shape
from experiments.runs.facts import layer_rows, pruning_facts, step_row
from experiments.runs.notes import heard, readings
from experiments.runs.pack import unpack
from experiments.runs.progress import Progress, Silent
from experiments.runs.provenance import provenance
from experiments.runs.tensors import read_masks, write_masks
from experiments.runs.training import apply_everywhere, fit, seconds_of
from prune import Step, prune
from prune.ablation import inverted, shuffled
from prune.positive import FLOWS
from prune.scores import Score
from train.batches import Task
from train.data import locate
from train.ranks import joined, of_first, rank
from train.seeds import REINIT, SHUFFLE, seed_of


class Pruned(NamedTuple):
    """A network that is pruned and not yet trained with its final masks."""

    model: nn.Module  # with its masks applied
    facts: dict  # entries of result.json
    seconds: float


Pruning = Callable[[RunConfig, Task | None, Progress], Pruned]


def run(config: RunConfig, progress: Progress | None = None) -> Path:
    """Prune at initialisation, train, evaluate, save; go on where an earlier call stopped.

    A finished run is not repeated, and pruning that is saved is not done again. All random
    numbers come from the seed, so equal configurations give equal files, timings aside.
    Under torchrun all ranks call it; the first prunes and writes.

    Args:
        config: From `resolve`.
        progress: Shows how far the run is; None shows nothing.

    Returns:
        The path of result.json.

    Raises:
        FileNotFoundError: If the data set is needed and missing; nothing is built.
        ValueError: If the model does not suit the data, or a file of the run is damaged.
        FloatingPointError: If scores or the training loss are not finite.
        OSError: If the results folder cannot be written, another process works on this run, or
            another rank fails.
    """
    return experiment(config, progress, _prune_at_initialisation)


def experiment(config: RunConfig, progress: Progress | None, pruning: Pruning) -> Path:
    """Do a run whose network is pruned by `pruning`; the rest is as in `run`."""
    progress = progress or Silent()
    result = config.directory / files.RESULT
    with joined(config.device):
        with heard([], progress):
            is_finished = of_first(lambda: unpack(config.directory))
        if is_finished:
            files.read_result(result)
            progress.note("this run is finished; it is not repeated")
            return result
        progress.begin("building the network", None)
        provenance()  # now, because the project's files may change during the run
        if config.reads_data:
            locate(config.dataset, Path(config.data_dir))
        check_network(config)
        with files.owned(config.directory) if rank() == 0 else nullcontext():
            data = images(config, progress) if config.reads_data else None
            model, facts, seconds = pruning(config, data, progress)
            trained = fit(config, config.directory, model, data, progress, config.cycles)
            measured = {**facts, "score_dtype": config.score_dtype, **trained.measured}
            measured["seconds"] = {"prune": seconds, "train": trained.seconds}
            if rank() == 0:
                files.write_result(result, config, measured, trained.start)
    return result


def _prune_at_initialisation(config: RunConfig, data: Task | None, progress: Progress) -> Pruned:
    model = initial_model(config)
    masks, notes, steps = of_first(lambda: _masks_and_steps(config, model, data, progress))
    progress.begin("checking the masks", None)
    with heard(notes, progress):
        facts = pruning_facts(model, masks, steps, probe_shape(config))
    if config.ablate == "reinit":
        model = initial_model(config, REINIT)
    apply_everywhere(model, masks)
    return Pruned(model, facts | {"notes": notes}, seconds_of(steps))


def _masks_and_steps(
    config: RunConfig, model: nn.Module, data: Task | None, progress: Progress
) -> tuple[dict[str, Tensor], list[str], list[dict]]:
    """Prune, unless all of its files are there; read the masks, the notes and the steps.

    They are read from the files also right after they were written. So a resumed run goes on
    from exactly what an uninterrupted one has.
    """
    masks_file, layers, steps = (
        config.directory / name for name in (files.MASKS, files.LAYERS, files.STEPS)
    )
    if not all(path.exists() for path in (masks_file, layers, steps)):
        _prune_and_save(config, model, data, progress)
    masks, notes, sums = read_masks(masks_file, model, config)
    files.read_rows(layers, files.LAYER_COLUMNS, sums)
    return masks, notes, files.read_rows(steps, files.STEP_COLUMNS, sums)


def _prune_and_save(
    config: RunConfig, model: nn.Module, data: Task | None, progress: Progress
) -> None:
    """Write layers.csv, steps.csv and, last, masks.npz, which marks the pruning as done."""
    progress.begin(f"pruning to 1/{config.compression:g}", config.steps)
    on_step = _StepRecorder(config, progress)
    given = probe(config, data)
    notes = readings(model, given) if config.pruner in FLOWS else []
    with heard(notes, progress):
        masks = prune(
            model,
            _score(config),
            given,
            config.compression,
            steps=config.steps,
            schedule=config.schedule,
            scope=config.scope,
            score_dtype=DTYPES[config.score_dtype],
            report=on_step,
            exclude=config.exclude,
            allocation=config.allocation,
        )
    if config.ablate == "shuffle":
        masks = shuffled(masks, torch.Generator().manual_seed(seed_of(config.seed, SHUFFLE)))
    # `scores` takes one more scoring. Certified takes no step if all weights are kept.
    scores = on_step.last.scores if on_step.last else None
    layers = layer_rows(model, masks, scores)
    files.write_rows(config.directory / files.LAYERS, files.LAYER_COLUMNS, layers)
    files.write_rows(config.directory / files.STEPS, files.STEP_COLUMNS, on_step.rows)
    write_masks(config.directory / files.MASKS, masks, config, notes)


def _score(config: RunConfig) -> Score:
    score = score_of(config.pruner)
    return inverted(score) if config.ablate == "invert" else score


class _StepRecorder:
    """The callback of `prune` after each step: collects the rows of steps.csv."""

    def __init__(self, config: RunConfig, progress: Progress):
        self.config, self.progress = config, progress
        self.rows: list[dict] = []
        self.last: Step | None = None
        self.ended = time.perf_counter()  # of the step before

    def __call__(self, step: Step) -> None:
        now = time.perf_counter()
        row = step_row(step, now - self.ended)
        if self.config.ablate == "shuffle":
            row["prune_cut_ratio"] = None  # Theorem 4 does not hold for the shuffled masks
        self.rows.append(row)
        self.last, self.ended = step, now
        self.progress.tick()
