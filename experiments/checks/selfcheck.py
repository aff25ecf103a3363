"""Run every check, and train by both recipes to find out which one the authors used."""

import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from experiments.checks.architectures import architectures
from experiments.checks.augmentation import augmentation
from experiments.checks.mask_hashes import mask_hashes
from experiments.checks.numerics import bfloat16, compiled, cpu_against_device
from experiments.checks.outcome import Failed, Impossible, Outcome
from experiments.checks.overfit import overfit
from experiments.checks.readers import readers
from experiments.checks.rehearsal import rehearsal
from experiments.checks.schedule import schedule
from experiments.checks.steps import steps
from experiments.resolve import resolve
from experiments.runs import files
from experiments.runs.progress import Progress
from experiments.runs.provenance import versions
from experiments.runs.run import run

Check = Callable[[torch.device], str]
CHECKS: dict[str, Check] = {
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
# Epoch -> mean training loss of the authors' dense VGG-16 on CIFAR-100
# (experiments/figures/published/DEPARTURES.md, row 8).
PUBLISHED_LOSS = {10: 2.449, 20: 2.086}


def selfcheck(device: str) -> Iterator[Outcome]:
    """Run all checks on the device in turn; the others still run after a failure."""
    for name, check in CHECKS.items():
        start = time.perf_counter()
        verdict, detail = verdict_of(check, torch.device(device))
        yield Outcome(name, verdict, time.perf_counter() - start, detail)


def verdict_of(check: Check, device: torch.device) -> tuple[str, str]:
    """Run one check; return its verdict and its findings."""
    try:
        return "PASS", check(device)
    except Impossible as reason:
        return "SKIP", str(reason)
    except Failed as reason:
        return "FAIL", str(reason)
    except Exception as error:  # any error in a check is a failure of what it checks
        return "FAIL", f"{type(error).__name__}: {' '.join(str(error).split())}"


def machine(device: str) -> str:
    """Describe in one line the device, the system and the versions under test."""
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    system = f"{platform.system()} {platform.machine()}"
    return f"{_device_name(torch.device(device))}, {system}, {packages}"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda})"
    return f"CPU, {torch.get_num_threads()} threads"


def losses_by_recipe(
    device: str, data_dir: str, results_dir: str, progress: Progress, **overrides: object
) -> dict[str, dict[int, float]]:
    """Train dense VGG-16 on CIFAR-100 for 20 epochs by each recipe, in float32.

    One of the two loss curves should be PUBLISHED_LOSS. It settles whether the authors' runs
    updated each parameter several times a step (experiments/figures/published/DEPARTURES.md,
    row 8).

    Args:
        device: The device to train on.
        data_dir: The folder of CIFAR-100.
        results_dir: The folder of the two runs.
        progress: Receives the progress of the runs.
        overrides: Options of `run` that replace those below, for a trial.

    Returns:
        recipe -> epoch -> mean training loss.
    """
    options = {
        "model": "vgg16",
        "dataset": "cifar100",
        "pruner": "magnitude",
        "compression": 1.0,
        "init": "published",
        "epochs": max(PUBLISHED_LOSS),
        "precision": "float32",
        "device": device,
        "data_dir": data_dir,
        "results": results_dir,
    }
    return {
        recipe: _losses(run(resolve(options | overrides | {"recipe": recipe}), progress))
        for recipe in ("paper", "published")
    }


def _losses(result: Path) -> dict[int, float]:
    rows = files.read_rows(result.with_name(files.HISTORY), files.HISTORY_COLUMNS)
    return {int(row["epoch"]): float(row["train_loss"]) for row in rows}
