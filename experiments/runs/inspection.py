"""Inspection of a finished run: its masks are read and checked against its result."""

from dataclasses import replace
from pathlib import Path

from experiments.config import restore
from experiments.runs import files
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.facts import pruning_facts
from prune import load_masks


def inspect(directory: Path) -> tuple[dict, list[dict]]:
    """Read the result and the rows of layers.csv of a run, and check its masks.

    The network is built again; counts, densities and `connected` are computed again.

    Raises:
        FileNotFoundError: If a file of the run is missing.
        ValueError: If a file is damaged, or the masks are not those of the result.
    """
    result = files.read_result(directory / files.RESULT)
    config = replace(restore(result["config"]), device="cpu")
    layers = files.read_rows(directory / files.LAYERS, files.LAYER_COLUMNS)
    steps = files.read_rows(directory / files.STEPS, files.STEP_COLUMNS)
    model = initial_model(config)
    masks = load_masks(directory / files.MASKS, model)
    facts = pruning_facts(model, masks, steps, probe_shape(config))
    for key, value in facts.items():
        if result[key] != value:
            raise ValueError(f"{directory}: {key} of the masks is not that of {files.RESULT}")
    return result, layers


def certificate(result: dict) -> str:
    """State in a sentence what follows from Theorem 4 for this run."""
    ratio = result["max_prune_cut_ratio"]
    if ratio is None:
        return "no certificate: Theorem 4 needs a conserved positive score (synflow)"
    if ratio < 1:
        return (
            f"certified: no step removed more than {ratio:.3g} of the cut size, so none could "
            "close the last path (Theorem 4)"
        )
    return (
        f"not certified: a step removed {ratio:.3g} times the cut size; more steps or "
        "--schedule certified would keep it below 1 (Theorem 4)"
    )
