"""Checkpoints: written whole or not at all, read without running any code from them."""

import hashlib
import zipfile
from pathlib import Path

import torch
from torch import nn

from train.files import write_whole
from train.ranks import of_first


def fingerprint(model: nn.Module, *facts: object) -> str:
    """A hash of the state that a training starts from, and of the printed form of `facts`."""
    digest = hashlib.sha256(repr(facts).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save(state: dict, path: Path) -> None:
    """Write tensors and plain containers; a crash leaves the old file or the new one."""
    write_whole(path, lambda file: torch.save(state, file))


def load(path: Path, device: torch.device) -> dict | None:
    """Read what `save` wrote, or None if there is no such file.

    Raises:
        ValueError: If the file is damaged or is no checkpoint.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not read the check sums
            if torn := archive.testzip():
                raise ValueError(f"{torn} is torn")
        state = torch.load(path, map_location=device, weights_only=True)
        if not {"start", "model", "optimizer", "history"} <= set(state):
            raise ValueError("entries are missing")
    except Exception as error:  # zip, pickle, EOF and key errors share no base class
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"checkpoint {path} is damaged ({reason}); delete it to train from the start"
        ) from None
    return state


def resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, start: str
) -> list[dict]:
    """Load the checkpoint into model and optimizer. Returns its rows; none without a checkpoint."""
    state = of_first(lambda: load(path, torch.device("cpu")))
    if state is None:
        return []
    if state["start"] != start:
        raise ValueError(
            f"checkpoint {path} is that of another training: the network, its first weights, the "
            "masks, the recipe or the seed differ; move it away to train from the start"
        )
    model.load_state_dict(state["model"])
    ways = [{way: group[way] for way in ("fused", "foreach")} for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    for group, way in zip(optimizer.param_groups, ways, strict=True):
        group.update(way)  # the saved weights may have had another memory format
    return state["history"]
