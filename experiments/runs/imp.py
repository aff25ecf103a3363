"""Iterative magnitude pruning (Sec. 5): train, prune, rewind, repeat; then a final training."""

import json
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from experiments.config import RunConfig, fits
from experiments.runs import files
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.facts import layer_rows, pruning_facts
from experiments.runs.notes import heard
from experiments.runs.owners import ACCURACY, SUMS, check, check_owner, located, parsed, signed
from experiments.runs.progress import Progress
from experiments.runs.run import Pruned, experiment, run
from experiments.runs.tensors import read_checkpoint, read_masks, write_masks
from experiments.runs.training import apply_everywhere, fit, seconds_of
from prune.masks import Masks, dense_masks, keep_top, kept, size
from prune.schedules import SCHEDULES
from prune.watch import warn_uncovered
from train.batches import Task
from train.ranks import of_first, rank

CYCLE = "cycle.json"  # written last: a cycle that has it is finished
TABLES = (files.HISTORY, files.WEIGHTS)  # of a cycle; the second only if it was asked for
ENTRIES = {"cycle": int, "kept": int, "compression": float, "seconds": float}
ENTRIES |= dict.fromkeys(("untrained", "best", "final"), ACCURACY)
CHECKS = {name: fits(kind) for name, kind in ENTRIES.items()}


def imp(config: RunConfig, progress: Progress | None = None) -> Path:
    """Train, prune by magnitude to density rho^(-k/n), rewind, for k = 1..n; then train once more.

    Each of the n = `config.cycles` cycles trains by the recipe and keeps ceil(N rho^(-k/n))
    weights: the largest after training among the survivors. They begin the next training with
    their initial values or, without `config.rewind`, with the trained ones, as in the published
    data of Fig. 5. Finished cycles are not repeated.

    Args:
        config: From `resolve`, with `cycles` above 0.
        progress: Shows how far the run is; None shows nothing.

    Returns:
        The path of result.json: the entries of `run` describe the final training; "cycles" has
        one entry for each cycle.

    Raises:
        OSError, ValueError, FloatingPointError: As in `experiments.runs.run.run`.
    """
    return experiment(config, progress, _prune_in_cycles)


def perform(config: RunConfig, progress: Progress | None = None) -> Path:
    """Do a run by the method of its configuration: `imp` if it has cycles, otherwise `run`."""
    return (imp if config.cycles else run)(config, progress)


def _prune_in_cycles(config: RunConfig, data: Task, progress: Progress) -> Pruned:
    model = initial_model(config)
    masks, rows = dense_masks(model, exclude=config.exclude), []
    for cycle in range(1, config.cycles + 1):
        finished = of_first(partial(_finished, config, cycle, model))
        if finished:
            progress.note(f"cycle {cycle} of {config.cycles} is finished; it is not repeated")
        masks, row = finished or _cycle(config, cycle, masks, data, progress)
        rows.append(row)
    steps = [_step_row(row) for row in rows]
    if rank() == 0:
        _write_tables(config, masks, steps)
    model = _start(config, config.cycles + 1)
    notes: list[str] = []
    with heard(notes, progress):
        warn_uncovered(model, masks, None, config.exclude)
        facts = pruning_facts(model, masks, steps, probe_shape(config))
    apply_everywhere(model, masks)
    return Pruned(model, facts | {"notes": notes, "cycles": rows}, seconds_of(rows))


def _start(config: RunConfig, cycle: int) -> nn.Module:
    """The network at the start of a cycle (n + 1: the final training), before masks are applied."""
    model = initial_model(config)  # rewound: the same seed gives the same weights
    if cycle > 1 and not config.rewind:
        model.load_state_dict(of_first(lambda: _trained(config, cycle - 1)))
    return model


def _trained(config: RunConfig, cycle: int) -> dict[str, Tensor]:
    """The weights after the training of a cycle, on the CPU."""
    return read_checkpoint(_directory(config, cycle) / files.CHECKPOINT, {})["model"]


def _cycle(
    config: RunConfig, cycle: int, masks: Masks, data: Task, progress: Progress
) -> tuple[dict[str, Tensor], dict]:
    """Train and prune once; the masks, and the cycle's entry in result.json."""
    progress.note(f"cycle {cycle} of {config.cycles}")
    model = _start(config, cycle)
    apply_everywhere(model, masks)
    if rank() == 0:
        _directory(config, cycle).mkdir(exist_ok=True)
    trained = fit(config, _directory(config, cycle), model, data, progress, cycle - 1)
    row = {"cycle": cycle, **trained.measured, "seconds": trained.seconds}
    return of_first(lambda: _select(config, row, masks, trained.start))


def _select(
    config: RunConfig, row: dict, masks: Masks, start: str
) -> tuple[dict[str, Tensor], dict]:
    """Keep the largest of the trained weights, and save them and the finished cycle's entry."""
    cycle = row["cycle"]
    directory, trained = _directory(config, cycle), _trained(config, cycle)
    magnitudes = {name: trained[name].abs() for name in masks}
    survivors = {name: mask.cpu() for name, mask in masks.items()}
    keep = SCHEDULES["exponential"](size(masks), config.compression, cycle, config.cycles)
    fewer = keep_top(magnitudes, survivors, keep)
    row |= {"kept": kept(fewer), "compression": size(fewer) / kept(fewer)}
    write_masks(directory / files.MASKS, fewer, config)
    sums = {files.CHECKPOINT: start, **files.table_sums(directory, TABLES)}
    content = signed({"run": config.directory.name, **row}, CYCLE, sums)
    files.write_text(directory / CYCLE, json.dumps(content, indent=2) + "\n")
    return fewer, row


def _finished(
    config: RunConfig, cycle: int, model: nn.Module
) -> tuple[dict[str, Tensor], dict] | None:
    """The masks and the entry of a cycle, None if it is not finished or lacks a file.

    Raises:
        ValueError: If one of its files is damaged, or that of another run or cycle.
    """
    directory, names = _directory(config, cycle), (CYCLE, files.MASKS, files.CHECKPOINT)
    path, masks_file, trained = (directory / name for name in names)
    if not all((directory / name).exists() for name in (*names, files.HISTORY)):
        return None
    row, sums = located(f"cycle file {path}", lambda: _read_cycle(path, config, cycle))
    masks, _, _ = read_masks(masks_file, model, config)
    if kept(masks) != row["kept"]:
        raise ValueError(f"mask file {masks_file} is not that of {path}: it keeps {kept(masks)}")
    read_checkpoint(trained, sums)
    for name in TABLES:
        if (directory / name).exists():
            files.read_rows(directory / name, files.TABLES[name], sums)
    return {name: mask.cpu() for name, mask in masks.items()}, row


def _read_cycle(path: Path, config: RunConfig, cycle: int) -> tuple[dict, dict[str, str]]:
    """Read a cycle's entry, and the sums; files of older versions have neither sums nor owner."""
    content = parsed(path.read_bytes())
    check(content, CYCLE, CHECKS)
    sums = content.pop(SUMS, {})
    check_owner(content.pop("run", config.directory.name), config.directory.name)
    if content["cycle"] != cycle:
        raise ValueError(f"it is that of cycle {content['cycle']}")
    return content, sums


def _directory(config: RunConfig, cycle: int) -> Path:
    return config.directory / f"cycle-{cycle}"


def _step_row(row: dict) -> dict:
    """The row of steps.csv for a cycle: a pruning step without R and prune/cut ratio."""
    return {
        "step": row["cycle"],
        "kept": row["kept"],
        "R": None,
        "prune_cut_ratio": None,
        "seconds": row["seconds"],
    }


def _write_tables(config: RunConfig, masks: Masks, steps: list[dict]) -> None:
    """Write the files of a run's pruning; scores are magnitudes after the last cycle's training."""
    scores = {name: weight.abs() for name, weight in _trained(config, config.cycles).items()}
    layers = layer_rows(initial_model(config).cpu(), masks, scores)
    files.write_rows(config.directory / files.LAYERS, files.LAYER_COLUMNS, layers)
    files.write_rows(config.directory / files.STEPS, files.STEP_COLUMNS, steps)
    write_masks(config.directory / files.MASKS, masks, config)
