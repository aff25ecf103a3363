"""Result files as sweeps write them."""

import json
from pathlib import Path

from experiments.resolve import resolve
from experiments.runs.files import LAYER_COLUMNS, WEIGHT_COLUMNS, write_rows
from experiments.sweeps.grid import AXES

SIZES = {"a": 10, "b": 1000, "c": 100_000}  # of the layers of `recorded`


def result(folder: Path, pruner: str, compression: float, top1: float, **more) -> Path:
    """Write a result file as a run does; returns the folder of the run."""
    options = {"pruner": pruner, "compression": compression, "seed": more.pop("seed", 0)}
    config = resolve(options | {"results": str(folder)} | more.pop("options", {}))
    accuracy = {"top1": top1, "top5": 100.0, "loss": 1.0}
    content = {
        "config": config.decisive | more.pop("config", {}),
        "prunable": 1000, "kept": 1000, "compression": compression,
        "density": {"a": 1.0, "b": 1.0}, "empty_tensors": [], "connected": True,
        "max_prune_cut_ratio": None, "steps": 1, "score_dtype": "float64", "untrained": accuracy,
        "best": accuracy | {"top1": top1 + 1}, "final": accuracy, "seconds": {}, "versions": {},
    } | more  # fmt: skip
    name = f"{config.directory.name}-{len(list(folder.glob('*')))}"
    (folder / name).mkdir(parents=True)
    (folder / name / "result.json").write_text(json.dumps(content))
    return folder / name


def recorded(folder: Path) -> None:
    """Write a dense run with its weights: mean squares of size^-1/2 at first, size^-1 at last."""
    run = result(folder, "magnitude", 1, 90.0)
    layers = [dict.fromkeys(LAYER_COLUMNS, 0) | {"name": n, "size": s} for n, s in SIZES.items()]
    write_rows(run / "layers.csv", LAYER_COLUMNS, layers)
    rows = [
        {"epoch": epoch, "name": name, "mean_square": size**power}
        for epoch, power in enumerate((-0.5, -0.75, -1))
        for name, size in SIZES.items()
    ]
    write_rows(run / "weights.csv", WEIGHT_COLUMNS, rows)


def sweep(folder: Path) -> None:
    """Write results of a dense net and two pruners with two seeds; magnitude collapses once."""
    for seed in (0, 1):
        result(folder, "magnitude", 1, 90.0 + seed, seed=seed)
        for compression, top1 in ((10, 80.0), (100, 60.0)):
            collapsed = (compression, seed) == (100, 1)
            result(
                folder, "magnitude", compression, top1 - seed, seed=seed, connected=not collapsed
            )
            result(folder, "synflow", compression, top1 + 5 + seed, seed=seed)


def ablated(folder: Path, pruner: str, compression: float, top1: float, seed: int = 0, **more):
    """Write the result of a run with a shuffled mask, or with the options in `more`."""
    return result(folder, pruner, compression, top1, seed=seed,
                  options=more or {"ablate": "shuffle"})  # fmt: skip


def axes(**values) -> dict:
    """One value for each axis, except for the axes given."""
    usual = dict(zip(AXES, ([0], ["digits"], ["mlp"], [10.0], ["synflow"], [None], [0], [None])))
    return {name: values.get(name, usual[name]) for name in AXES}
