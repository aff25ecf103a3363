"""Result files as sweeps would leave them."""

import json
from pathlib import Path

from experiments.resolve import resolve
from experiments.sweeps.grid import AXES


def result(folder: Path, pruner: str, compression: float, top1: float, **more) -> Path:
    """A result file as a run would leave it, and its configuration."""
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


def sweep(folder: Path) -> None:
    """Two seeds of a dense net and of two pruners; magnitude collapses at 100 with one seed."""
    for seed in (0, 1):
        result(folder, "magnitude", 1, 90.0 + seed, seed=seed)
        for compression, top1 in ((10, 80.0), (100, 60.0)):
            collapsed = (compression, seed) == (100, 1)
            result(
                folder, "magnitude", compression, top1 - seed, seed=seed, connected=not collapsed
            )
            result(folder, "synflow", compression, top1 + 5 + seed, seed=seed)


def ablated(folder: Path, pruner: str, compression: float, top1: float, seed: int = 0, **more):
    """A run whose mask is shuffled, unless `more` says what else."""
    return result(folder, pruner, compression, top1, seed=seed,
                  options=more or {"ablate": "shuffle"})  # fmt: skip


def axes(**values) -> dict:
    """One value for each axis, but for those given."""
    usual = dict(zip(AXES, ([0], ["digits"], ["mlp"], [10.0], ["synflow"], [None], [0])))
    return {name: values.get(name, usual[name]) for name in AXES}
