"""Equal trainings are done once: runs in one results folder share the checkpoint of a training.

All runs of iterative magnitude pruning begin with a training of the dense network, and two
pruners may keep the same weights. A finished training writes a file beside its checkpoint that
identifies how it began. Another run with the same beginning links to that checkpoint, which takes
no space.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from experiments.config import PRUNING_DETAILS, RunConfig
from experiments.runs.files import CHECKPOINT
from train import checkpoint

TRAINED = ".trained"
# Fields that change the network before a training, but not the training itself.
BEFORE_TRAINING = (*PRUNING_DETAILS, "pruner", "compression", "score_dtype", "init")


class Training(NamedTuple):
    """A training, as far as a configuration determines it: equal ones have equal results."""

    options: tuple[tuple[str, object], ...]  # fields of the configuration that it depends on
    init: str  # of the initial weights
    compressions: tuple[str, ...]  # after each cycle before it, to 9 digits
    exclude: tuple[str, ...]  # of the cycles before it
    trained: bool  # whether it begins with weights that are not the initial ones
    owner: str | None  # the only run that has it; None: any run of these options


def trainings(config: RunConfig) -> list[Training]:
    """List the trainings of a run.

    They are computed from the configuration alone, without building the network. So two pruners
    that will keep the same weights have different trainings here, though they will share one.
    """
    n = config.cycles
    shares = not config.record_weights and (n > 0 or config.compression == 1)
    options = tuple(_options(config).items())
    owner = None if shares else config.directory.name
    compressions = tuple(f"{config.compression ** (k / n):.9g}" for k in range(1, n + 1))
    return [
        Training(
            options,
            config.init,
            compressions[:k],
            config.exclude if k else (),
            k > 0 and not config.rewind,
            owner,
        )
        for k in range(n + 1)
    ]


def beginning(config: RunConfig, model: nn.Module) -> str:
    """Identify a training by the state of the network and by the options it depends on."""
    return checkpoint.fingerprint(model, _options(config))


def _options(config: RunConfig) -> dict:
    """The fields that a training of a given network depends on."""
    options = {
        name: value for name, value in config.decisive.items() if name not in BEFORE_TRAINING
    }
    return options | {"device": torch.device(config.device).type}


def take(begun: str, start: str, directory: Path, results: Path) -> bool:
    """Link the checkpoint of a training with this beginning into `directory`, which has none.

    Args:
        begun: The content of the file that a finished training writes.
        start: The beginning that its checkpoint must hold, too: it may be that of another run.
        directory: Of this training.
        results: The folder that is searched.

    Returns:
        True if such a checkpoint was found, is not damaged and could be linked.
    """
    for pattern in ("*", "*/cycle-*"):
        for found in results.glob(f"{pattern}/{TRAINED}"):
            with suppress(OSError, ValueError):
                theirs = found.with_name(CHECKPOINT)
                if found.read_text() == begun and _begins(theirs, start):
                    os.link(theirs, directory / CHECKPOINT)
                    return True
    return False


def _begins(path: Path, start: str) -> bool:
    """True if this is the checkpoint of a training that began so."""
    state = checkpoint.load(path, torch.device("cpu"))
    return state is not None and state["start"] == start
