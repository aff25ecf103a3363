"""The evidence that pruning and training are right on this machine and device."""

import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from experiments.checks.architectures import architectures
from experiments.checks.augmentation import augmentation
from experiments.checks.mask_hashes import mask_hashes
from experiments.checks.overfit import overfit
from experiments.checks.precision import bfloat16, compiled, cpu_against_device
from experiments.checks.readers import readers
from experiments.checks.rehearsal import rehearsal
from experiments.checks.schedule import schedule
from experiments.checks.steps import steps
from experiments.checks.verdict import Failed, Impossible
from experiments.resolve import resolve
from experiments.runs import files
from experiments.runs.progress import Progress
from experiments.runs.run import run

CHECKS: dict[str, Callable[[torch.device], str]] = {
    "rehearsal": rehearsal,
    "architectures": architectures,
    "steps": steps,
    "schedule": schedule,
    "augmentation": augmentation,
    "readers": readers,
    "overfit": overfit,
    "bfloat16": bfloat16,
    "compile": compiled,
    "masks": mask_hashes,
    "device": cpu_against_device,
}
# Mean training loss of the published dense VGG-16 on CIFAR-100 (FACTS.md 4.1), by epoch.
PUBLISHED_LOSS = {10: 2.449, 20: 2.086}


class Outcome(NamedTuple):
    """What became of one check."""

    name: str
    verdict: str  # PASS, FAIL or SKIP (this machine cannot make it)
    seconds: float
    detail: str


def selfcheck(device: str) -> Iterator[Outcome]:
    """Make all checks on the device, one after the other; one that fails stops no other."""
    for name, check in CHECKS.items():
        start = time.perf_counter()
        verdict, detail = made(check, torch.device(device))
        yield Outcome(name, verdict, time.perf_counter() - start, detail)


def made(check: Callable[[torch.device], str], device: torch.device) -> tuple[str, str]:
    """The verdict of one check, and what it says."""
    try:
        return "PASS", check(device)
    except Impossible as reason:
        return "SKIP", str(reason)
    except Failed as reason:
        return "FAIL", str(reason)
    except Exception as error:  # whatever breaks a check is what it is for
        return "FAIL", f"{type(error).__name__}: {' '.join(str(error).split())}"


def machine(device: str) -> str:
    """One line that says what the checks ran on."""
    versions = ", ".join(f"{name} {version}" for name, version in files.versions().items())
    system = f"{platform.system()} {platform.machine()}"
    return f"{_device_name(torch.device(device))}, {system}, {versions}"


def _device_name(device: torch.device) -> str:
    """What a CUDA device calls itself, with its driver's CUDA version."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda})"
    return f"CPU, {torch.get_num_threads()} threads"


def published(
    device: str, data_dir: str, results_dir: str, progress: Progress, **smaller
) -> dict[str, dict[int, float]]:
    """Train dense VGG-16 on CIFAR-100 for 20 epochs by either recipe.

    It settles whether the published runs moved each parameter several times a step (FACTS.md
    4.1): one of the two loss curves should be PUBLISHED_LOSS. In float32, as those runs were.

    Args:
        smaller: Options of `run` to put in the place of these, for a trial.

    Returns:
        recipe -> epoch -> mean training loss.
    """
    options = {
        **{"model": "vgg16", "dataset": "cifar100", "pruner": "magnitude", "compression": 1.0},
        **{"init": "published", "epochs": max(PUBLISHED_LOSS), "precision": "float32"},
        **{"device": device, "data_dir": data_dir, "results": results_dir},
        **smaller,
    }
    return {
        recipe: _losses(run(resolve(options | {"recipe": recipe}), progress))
        for recipe in ("paper", "published")
    }


def _losses(result: Path) -> dict[int, float]:
    rows = files.read_rows(result.with_name(files.HISTORY), files.HISTORY_COLUMNS)
    return {int(row["epoch"]): float(row["train_loss"]) for row in rows}
