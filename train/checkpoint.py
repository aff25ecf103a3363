"""Checkpoints: written whole or not at all, read without running any code from them."""

import hashlib
import os
import zipfile
from pathlib import Path

import torch
from torch import nn


def fingerprint(model: nn.Module, *facts: object) -> str:
    """Tells trainings apart by the state that they start from and by what `facts` print."""
    digest = hashlib.sha256(repr(facts).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save(state: dict, path: Path) -> None:
    """Write tensors and plain containers so that a crash leaves the old file or the new one."""
    partial = path.with_name(path.name + ".part")
    with open(partial, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(path: Path, device: torch.device) -> dict | None:
    """Read what `save` wrote, or None if there is no such file.

    Raises:
        ValueError: If the file is damaged or is no checkpoint.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the check sums
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
