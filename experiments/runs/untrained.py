"""The accuracy before training: measured once, and read from a file by a resumed run."""

import json
from math import isfinite
from pathlib import Path

from torch import nn

from experiments.config import RunConfig, fits
from experiments.runs.files import write_text
from experiments.runs.owners import (
    ACCURACY,
    Foreign,
    check,
    check_owner,
    located,
    parsed,
    signed,
)
from experiments.runs.progress import Progress
from train.batches import Task
from train.evaluation import evaluate, evaluation_batches
from train.ranks import of_first, rank

UNTRAINED = "untrained.json"
CHECKS = {name: fits(kind) for name, kind in ({"run": str, "start": str} | ACCURACY).items()}


def untrained(
    config: RunConfig, directory: Path, start: str, net: nn.Module, data: Task, progress: Progress
) -> dict[str, float]:
    """Read the accuracy of the network on the test images or, where there is no file, measure it.

    Args:
        config: Of the run.
        directory: That of the training, of which the run may have several.
        start: The beginning of the training, as checkpoint.pt has it.
        net: On the device of the images.
        data: Its test images are read.
        progress: Shows how far the evaluation is.

    Raises:
        ValueError: If the file is damaged, or that of another run or training.
    """
    path, name = directory / UNTRAINED, config.directory.name
    if found := of_first(lambda: _read(path, name, start)):
        return found
    progress.begin("evaluating before training", evaluation_batches(data))
    found = evaluate(net, data, progress.tick)
    if rank() == 0 and isfinite(found["loss"]):
        content = signed({"run": name, "start": start, **found}, UNTRAINED, {})
        write_text(path, json.dumps(content, indent=2) + "\n")
    return found


def _read(path: Path, name: str, start: str) -> dict[str, float] | None:
    """Return what the file has, None if it does not exist."""
    return located(f"file {path}", lambda: _checked(path, name, start)) if path.exists() else None


def _checked(path: Path, name: str, start: str) -> dict[str, float]:
    content = parsed(path.read_bytes())
    check(content, UNTRAINED, CHECKS)
    check_owner(content["run"], name)
    if content["start"] != start:
        raise Foreign("is that of another training; move it away to make it again")
    return {key: content[key] for key in ACCURACY}
