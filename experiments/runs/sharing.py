"""Equal trainings are done once: runs of one results folder share the checkpoint of a whole one.

Runs of iterative magnitude pruning begin alike, the first cycle with the dense network; two
pruners may keep the same weights. A finished training leaves beside its checkpoint how it began;
to share it is to link to the checkpoint, which takes no space.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from experiments.config import PRUNING, RunConfig
from experiments.runs.files import CHECKPOINT
from train import checkpoint

TRAINED = ".trained"
IN_THE_NETWORK = (*PRUNING, "pruner", "compression", "score_dtype", "init")  # not of training


def beginning(config: RunConfig, model: nn.Module) -> str:
    """Tells trainings apart by the state of the model and by all that they do from there."""
    return checkpoint.fingerprint(model, _facts(config))


def _facts(config: RunConfig) -> dict:
    facts = {name: value for name, value in config.decisive.items() if name not in IN_THE_NETWORK}
    return facts | {"device": torch.device(config.device).type}


def trainings(config: RunConfig) -> list[str]:
    """A name for each training of a run, so that those of one name will be equal.

    Said before anything is built, so that pruners which will keep the same weights are not known.
    """
    n = config.cycles
    shares = not config.record_weights and (n > 0 or config.compression == 1)
    begun = [_facts(config), config.init, None if shares else config.directory.name]
    kept = [f"{config.compression ** (k / n):.9g}" for k in range(1, n + 1)]
    return [json.dumps([*begun, kept[:k], k > 0 and config.rewind]) for k in range(n + 1)]


def take(begun: str, directory: Path, results: Path) -> bool:
    """Link the checkpoint of a training that began so into `directory`, which has none.

    Returns:
        Whether there is one: undamaged, on a file system with links.
    """
    for pattern in ("*", "*/cycle-*"):
        for found in results.glob(f"{pattern}/{TRAINED}"):
            with suppress(OSError, ValueError):
                theirs = found.with_name(CHECKPOINT)
                if found.read_text() == begun and checkpoint.load(theirs, torch.device("cpu")):
                    os.link(theirs, directory / CHECKPOINT)
                    return True
    return False
