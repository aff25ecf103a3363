"""Sentences for result.json: how SynFlow reads a network, and what pruning warns of."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from experiments.runs.files import PassedOver
from experiments.runs.progress import Progress
from prune import Probe
from prune.notices import LayerCollapse, NoFlow, Uncovered
from prune.positive import positive_pass, reading
from prune.probe import ones
from prune.scoring import undisturbed

OURS = (LayerCollapse, NoFlow, Uncovered, PassedOver)


@contextmanager
def heard(notes: list[str], progress: Progress) -> Iterator[None]:
    """Append the warnings of `prune` in the block to `notes`, each sentence once.

    Each is shown as a line of progress, except for a layer-collapse, which the last lines of the
    run tell. Other warnings go their usual way.
    """

    def show(message, category, *place, **more) -> None:
        if not issubclass(category, OURS):
            others(message, category, *place, **more)
        elif (text := " ".join(str(message).split())) not in notes:
            notes.append(text)
            if not issubclass(category, LayerCollapse):
                progress.note(text)

    with warnings.catch_warnings():  # it restores the filters, and `showwarning`
        for category in OURS:
            warnings.simplefilter("always", category)
        others, warnings.showwarning = warnings.showwarning, show
        yield


def readings(model: nn.Module, probe: Probe) -> list[str]:
    """Return sentences on operations that SynFlow reads otherwise than they are.

    Raises:
        ValueError: If the model cannot be run on the probe.
    """
    call = ones(model, replace(probe, dtype=torch.float32))
    with undisturbed(model):
        read = positive_pass(model, reading(model, torch.float32), call).read
    operations = [f"{name} as {how} ({count} times)" for (name, how), count in read.items()]
    return [f"SynFlow reads {', '.join(operations)}"] if operations else []
