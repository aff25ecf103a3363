"""Refusals of values that an option does not take."""

from collections.abc import Collection
from math import inf

import torch


def device_named(name: str) -> str:
    """Replace "auto" by this machine's device, and check that a CUDA device exists."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device must be auto, cpu, cuda or cuda:N, not {name}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices that "
            "torch can use; auto and cpu are possible"
        )
    return name


def one_of(option: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a value that is not among the allowed names."""
    if value not in allowed:
        raise ValueError(f"--{option} must be one of {', '.join(allowed)}, not {value}")


def at_least(option: str, value: float, least: float) -> None:
    """Refuse a number below the least one, an infinite one and NaN."""
    if not least <= value < inf:
        raise ValueError(f"--{option} must be at least {least}, not {value:g}")
