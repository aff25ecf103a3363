"""One drawing of each figure, from results and cells that are written here."""

from pathlib import Path

import pytest

from experiments.config import RunConfig
from experiments.figures import (
    accuracy,
    catalogue,
    cells,
    collapse,
    cost,
    critical,
    first_pictures,
    iterative_magnitude,
    precision,
    style,
    variants,
    worked_example,
)
from experiments.resolve import resolve
from proofs_tests.tools.network_figures import take_few_steps
from proofs_tests.tools.sweeps import ablated, recorded, result, sweep


def drawings(folder: Path, computed: RunConfig) -> dict[str, style.Drawing]:
    """Draw each figure; `computed` has the cells of figures 2, 3, 4 and 7."""
    found = first_pictures.draw() | {"0": worked_example.draw(), "5": _cycles(folder / "cycles")}
    found |= _of_runs(folder / "sweep")
    with pytest.MonkeyPatch.context() as patch:
        take_few_steps(patch)
        found |= {n: catalogue.AT_INITIALISATION[n].draw([computed]) for n in "2347"}
    found["critical"] = critical.draw([_searched(folder, model) for model in ("vgg11", "vgg16")])
    found["precision"] = precision.draw([_compared(folder)])
    return found


def _of_runs(folder: Path) -> dict[str, style.Drawing]:
    sweep(folder)
    ablated(folder, "synflow", 10, 70.0)
    for pruner in ("grasp-text", "snip"):
        result(folder, pruner, 10_000, 50.0)
    trained = {"trained": {"step_flops": 1000}, "seconds": {"prune": 2.0, "train": 6.0}}
    result(folder, "synflow", 10_000, 50.0, options={"epochs": 2, "lr_drops": ()}, **trained)
    found = {"6": accuracy.draw_all(folder, {}), "variants": variants.draw(folder, {})}
    return found | {
        "1": accuracy.draw_one(folder, {"epochs": 30}),
        "cost": cost.draw(folder, {"epochs": 2}),
    }


def _cycles(folder: Path) -> style.Drawing:
    """Draw figure 5 with its three panels."""
    recorded(folder)
    for cycles in (1, 2):
        result(folder, "magnitude", 10, 70.0, config={"cycles": cycles})
    return iterative_magnitude.draw(folder, {})


def _searched(folder: Path, model: str) -> RunConfig:
    """A network with a critical compression of each method."""
    options = {"model": model, "dataset": "cifar100", "epochs": 0, "results": str(folder)}
    config = resolve(options)
    for place, method in enumerate(critical.METHODS, 1):
        found = collapse.Found(0, method.label, 10**6, 9, 10**6 // 3**place, 9, True, "digits", 1.0)
        collapse.save(config, found)
    return config


def _compared(folder: Path) -> RunConfig:
    """A network with masks compared after 20 steps."""
    config = resolve({"epochs": 0, "results": str(folder)})
    steps = [[1.0, 1.0, 1 - n / 100, 1 - n / 90] for n in range(20)]
    cells.save(precision.cell_path(config), {"model": "mlp", "dataset": "digits", "iou": steps})
    return config
