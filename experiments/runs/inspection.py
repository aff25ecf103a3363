"""Inspection of a finished run: its masks are read and checked against its result."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments.config import RunConfig, restore
from experiments.runs import files
from experiments.runs.build import initial_model, probe_shape
from experiments.runs.channels import dead_channels
from experiments.runs.facts import pruning_facts
from experiments.runs.notes import heard
from experiments.runs.owners import SUMS
from experiments.runs.progress import Silent
from experiments.runs.tensors import read_checkpoint, read_masks
from prune import Probe, apply, effective, release
from prune.bound import change_bound
from prune.compact import compact, parameters_left
from train.foreign import is_code


class Inspection(NamedTuple):
    """A finished run, checked."""

    result: dict  # of result.json, with the facts that older versions did not write
    layers: list[dict]  # rows of layers.csv, and "effective", "dead_inputs", "dead_outputs"
    compact: str  # what `compact` would leave, in a sentence
    moved: str | None  # how far pruning can move the outputs; None where no bound is known
    steps: list[dict]  # rows of steps.csv
    networks: tuple[nn.Module, nn.Module] | None  # masked, and compact; None if there is none


class Checked(NamedTuple):
    """The files of a finished run."""

    result: dict  # of result.json, with the facts that older versions did not write
    config: RunConfig  # for the CPU
    layers: list[dict]  # rows of layers.csv
    steps: list[dict]  # rows of steps.csv
    model: nn.Module  # at initialisation
    masks: dict[str, Tensor]


def inspect(directory: Path, model: str | None = None, dataset: str | None = None) -> Inspection:
    """Read the result and the rows of layers.csv of a run, and check its masks.

    The network is built again; counts, densities, `effective` and `connected` are computed again.

    Args:
        directory: Of the run.
        model: The name of the run's model. It must be given if that is a function of a module,
            which is never called because a result file names it.
        dataset: The name of the run's data set; likewise.

    Raises:
        FileNotFoundError: If a file of the run is missing.
        ValueError: If a file is damaged or that of another run, or the user must name the model
            or the data set.
    """
    run = checked(directory, model, dataset)
    with heard([], Silent()):
        live = effective(run.model, run.masks, Probe(probe_shape(run.config)))
    dead = dead_channels(run.model, live)
    for row in run.layers:
        name = row["name"]
        row |= {"effective": int(live[name].sum())}
        row |= dict(zip(("dead_inputs", "dead_outputs"), dead[name], strict=True))
    compact, networks = _left(directory, run)
    return Inspection(run.result, run.layers, compact, _moved(run), run.steps, networks)


def checked(directory: Path, model: str | None = None, dataset: str | None = None) -> Checked:
    """Read the files of a finished run, build its network, and compare what both show.

    Arguments and errors are those of `inspect`.
    """
    result = files.read_result(directory / files.RESULT)
    config = restore(result["config"])
    for option, named in (("model", model), ("dataset", dataset)):
        _check_trust(directory, option, getattr(config, option), named)
    _check_presence(directory)
    sums = result.get(SUMS, {})
    layers = files.read_rows(directory / files.LAYERS, files.LAYER_COLUMNS, sums)
    steps = files.read_rows(directory / files.STEPS, files.STEP_COLUMNS, sums)
    here = replace(config, device="cpu")
    net = initial_model(here)
    masks, _, _ = read_masks(directory / files.MASKS, net, config)
    with heard([], Silent()):
        facts = pruning_facts(net, masks, steps, probe_shape(config))
    for key, value in facts.items():
        if result.get(key, value) != value:
            raise ValueError(f"{directory}: {key} of the masks is not that of {files.RESULT}")
    return Checked(result | facts, here, layers, steps, net, masks)


def _check_presence(directory: Path) -> None:
    """Refuse a run whose tables or masks are gone, or were never here."""
    gone = [n for n in (files.LAYERS, files.STEPS, files.MASKS) if not (directory / n).exists()]
    if not gone:
        return
    if (directory / files.RESULT).exists():
        cure = f"move {files.RESULT} away, and the same command makes both again"
    else:
        cure = "packs hold results only; repeat the run with another --results folder"
    raise FileNotFoundError(f"{directory / gone[0]} is not there: {cure}")


def _check_trust(directory: Path, option: str, stored: str, named: str | None) -> None:
    """Refuse a function of a user's module unless the user names it again."""
    if named not in (None, stored):
        raise ValueError(f"the {option} of {directory} is {stored}, not {named}")
    if named is None and is_code(stored):
        raise ValueError(
            f"the {option} of {directory} is {stored}: a module that a result file names is not "
            f"run; if you trust it, add --{option} {stored}"
        )


def network(directory: Path, run: Checked, device: str = "cpu") -> nn.Module:
    """The network at the end of a run, in eval mode: its weights with the pruned ones 0.

    Raises:
        FileNotFoundError: If the file with the weights is missing.
        ValueError: If it is damaged, or that of another run.
    """
    model = initial_model(replace(run.config, device=device))
    if run.config.epochs:
        state = read_checkpoint(directory / files.CHECKPOINT, run.result.get(SUMS, {}))
        model.load_state_dict(state["model"])
    apply(model, {name: mask.to(device) for name, mask in run.masks.items()})
    return release(model).eval()


def _left(directory: Path, run: Checked) -> tuple[str, tuple[nn.Module, nn.Module] | None]:
    """The number of parameters that `compact` leaves, and both networks; or why it cannot."""
    try:
        masked = network(directory, run)
        small = compact(masked, torch.zeros(2, *probe_shape(run.config)))
    except (ValueError, FileNotFoundError) as error:
        return f"no smaller network: {error}", None
    return parameters_left(masked, small), (masked, small)


def _moved(run: Checked) -> str | None:
    """The bound on the change of the outputs by pruning, at the initial weights."""
    if run.config.ablate == "reinit":  # the kept weights are other ones
        return None
    try:
        bound = change_bound(run.model, run.masks, Probe(probe_shape(run.config)))
    except (ValueError, FloatingPointError):
        return None
    change, output = (float(tensor.max()) for tensor in bound)
    return (
        f"at the initial weights pruning moves no output by more than {change:.4g} for inputs "
        f"within -1 and 1; the bound of the outputs themselves is {output:.4g}"
    )


def certificate(result: dict) -> str:
    """State in a sentence what follows from Theorem 4 for this run."""
    ratio = result["max_prune_cut_ratio"]
    if ratio is None:
        return "no certificate: Theorem 4 needs a conserved positive score (synflow, synflow-l2)"
    if ratio < 1:
        return (
            f"certified: no step removed more than {ratio:.3g} of the cut size, so none could "
            "close the last path (Theorem 4)"
        )
    return (
        f"not certified: a step removed {ratio:.3g} times the cut size; more steps or "
        "--schedule certified would keep it below 1 (Theorem 4)"
    )
