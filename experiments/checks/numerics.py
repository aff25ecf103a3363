"""Check bfloat16, torch.compile and the device against float32 on a CPU: 20 losses each."""

import shutil
import warnings

import torch

from experiments.checks.outcome import Impossible, expect
from experiments.checks.pictures import random_task
from prune import Probe, apply, prune
from train.batches import training_batches
from train.loop import sgd, step
from train.models import build
from train.prepared import prepared
from train.recipes import Recipe

RECIPE = Recipe(epochs=5, batch_size=16, lr=0.005, lr_drops=(), drop_factor=1, weight_decay=5e-4)
CPU = torch.device("cpu")
COMPILERS = {"cpu": ("c++", "g++", "clang++"), "cuda": ("cc", "gcc", "clang")}
STEPS = 20  # four in each epoch
# The largest relative difference of a loss, in the first step and in all 20. Where rounding moves
# a preactivation across 0, two trainings diverge: 1e-7 becomes 1e-2 within 20 float32 steps.
BFLOAT16 = (5e-3, 5e-2)  # 8 bits: the relative error of a product is up to 4e-3
FLOAT32 = (1e-5, 2e-2)
FLOAT64 = (1e-12, 1e-8)


def bfloat16(device: torch.device) -> str:
    """Compare autocast to bfloat16, with channels_last, with float32."""
    return _near(losses(device), losses(device, precision="bfloat16"), BFLOAT16)


def compiled(device: torch.device) -> str:
    """Compare compiled steps with uncompiled ones."""
    if not any(map(shutil.which, COMPILERS[device.type])):
        raise Impossible(f"torch.compile needs one of {', '.join(COMPILERS[device.type])}")
    with warnings.catch_warnings():  # of torch's compiler: TF32 is off, as it should be
        warnings.filterwarnings("ignore", "TensorFloat32")
        found = losses(device, compile=True)
    return _near(losses(device), found, FLOAT32)


def cpu_against_device(device: torch.device) -> str:
    """Compare a CPU's plain kernels with the device's kernels, which on a CPU are oneDNN's."""
    with warnings.catch_warnings():  # torch warns that oneDNN has no TF32 here
        warnings.simplefilter("ignore")
        with torch.backends.mkldnn.flags(enabled=False):
            expected = losses(CPU)
    text = _near(expected, losses(device), FLOAT32)
    if device.type == "cpu":  # oneDNN has no float64
        return text
    expected, found = (losses(place, dtype=torch.float64) for place in (CPU, device))
    return f"{text}; in float64 {_near(expected, found, FLOAT64)}"


def losses(
    device: torch.device,
    precision: str = "float32",
    compile: bool = False,
    dtype: torch.dtype = torch.float32,
) -> list[float]:
    """Compute the mean losses of 20 training steps of a VGG-11 at compression 10."""
    torch.manual_seed(0)
    data = random_task(STEPS // RECIPE.epochs * RECIPE.batch_size, device)
    model = build("vgg11", data.dataset.shape, data.dataset.classes, width=1 / 16)
    masks = prune(model, "magnitude", Probe(data.dataset.shape), compression=10)
    apply(model.to(device, dtype), masks)
    network = prepared(model, precision, compile).train()
    optimizer = sgd(network, RECIPE)
    return [
        float(step(network, optimizer, inputs.to(dtype), labels, size)) / size
        for epoch in range(RECIPE.epochs)
        for inputs, labels, size in training_batches(data, RECIPE.batch_size, seed=0, epoch=epoch)
    ]


def _near(expected: list[float], found: list[float], allowed: tuple[float, float]) -> str:
    """Expect small relative errors; `allowed` bounds the first and the largest."""
    expect(len(expected) == len(found) == STEPS, f"{len(found)} losses, not {STEPS}")
    errors = [abs(a - b) / a for a, b in zip(expected, found, strict=True)]
    first, largest = errors[0], max(errors)
    _expect_small("the first loss", first, allowed[0])
    _expect_small("a loss", largest, allowed[1])
    return f"{first:.0e} off in the first step, {largest:.0e} in {STEPS}"


def _expect_small(name: str, error: float, bound: float) -> None:
    expect(error <= bound, f"{name} has a relative error of {error:.1e}; {bound:g} is allowed")
