"""Equal trainings are done once: runs of one results folder share the checkpoint of a whole one.

Runs of iterative magnitude pruning begin alike, the first cycle with the dense network; two
pruners may keep the same weights. What is shared is a second name (a hard link) of the same
file, which takes no space, and is given up with the last run that has it.
"""

import os
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from experiments.config import RunConfig
from train import checkpoint

FOLDER = ".trainings"  # among the results
PRUNING = (  # what it comes to is in the network that is trained
    *("pruner", "compression", "steps", "schedule", "scope", "score_dtype", "ablate", "init"),
    *("cycles", "rewind"),
)


def shared(config: RunConfig, model: nn.Module) -> Path:
    """The file of all trainings that begin with this state of the model and go on like this one."""
    facts = {name: value for name, value in config.decisive.items() if name not in PRUNING}
    facts["device"] = torch.device(config.device).type
    return Path(config.results).absolute() / FOLDER / f"{checkpoint.fingerprint(model, facts)}.pt"


def take(path: Path, ours: Path) -> bool:
    """Whether the training was done before; then its checkpoint is now `ours`, too.

    Nothing is taken where `ours` exists, nor what no run has any more or is damaged.
    """
    with suppress(OSError):  # none is there, `ours` is, or the file system has no links
        if path.stat().st_nlink == 1 or not _whole(path):
            path.unlink()
        os.link(path, ours)
        return True
    return False


def give(ours: Path, path: Path) -> None:
    """Let others take the checkpoint of a finished training."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        os.link(ours, path)


def _whole(path: Path) -> bool:
    try:
        return checkpoint.load(path, torch.device("cpu")) is not None
    except ValueError:
        return False
