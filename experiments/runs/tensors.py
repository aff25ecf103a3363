"""The masks and the checkpoint of a run: written with their owner, read with a check of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.config import RunConfig
from experiments.runs.files import LAYERS, STEPS, table_sums
from experiments.runs.owners import SUMS, check_owner, located, parsed
from prune import load_masks, save_masks
from prune.masks import Masks
from train import checkpoint


def write_masks(path: Path, masks: Masks, config: RunConfig, notes: Sequence[str] = ()) -> None:
    """Write a mask file after the tables beside it.

    Its metadata are the run that made it, the notes on its pruning, and the sums of the tables.
    """
    facts = {"run": config.directory.name, "config": json.dumps(config.decisive)}
    more = {"notes": list(notes), SUMS: table_sums(path.parent, (LAYERS, STEPS))}
    texts = {name: json.dumps(value) for name, value in more.items() if value}
    save_masks(masks, path, facts | texts)


def read_masks(
    path: Path, model: nn.Module, config: RunConfig
) -> tuple[dict[str, Tensor], list[str], dict[str, str]]:
    """Read a mask file of the run of this configuration: the masks, the notes, and the sums.

    Raises:
        ValueError: If it is damaged, does not fit the model, or another run made it.
    """
    masks = load_masks(path, model, exclude=config.exclude)
    notes, sums = located(f"mask file {path}", lambda: _metadata(path, config.directory.name))
    return masks, notes, sums


def _metadata(path: Path, directory: str) -> tuple[list[str], dict[str, str]]:
    with np.load(path, allow_pickle=False) as archive:
        texts = {name: str(archive[name]) for name in archive.files if name.startswith("__")}
    check_owner(texts.get("__run", "no run"), directory)
    return parsed(texts.get("__notes", "[]")), parsed(texts.get(f"__{SUMS}", "{}"))


def read_checkpoint(path: Path, sums: Mapping[str, str]) -> dict:
    """Read the checkpoint of a finished training.

    Args:
        path: The file.
        sums: May have an entry for it: the beginning of the training.

    Raises:
        FileNotFoundError: If it is gone.
        ValueError: If it is damaged, or that of another training.
    """
    state = checkpoint.load(path, torch.device("cpu"))
    if state is None:
        raise FileNotFoundError(f"{path} with the weights is gone")
    if state["start"] != sums.get(path.name, state["start"]):
        raise ValueError(f"checkpoint {path} is that of another training")
    return state
