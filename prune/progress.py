"""The progress of `prune` on stderr: a bar, and a last line about the masks."""

import copy
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from prune.compact import compact, parameters_left
from prune.connected import connected, effective
from prune.enforce import apply
from prune.masks import Masks, kept, size
from prune.probe import Probe, ones
from prune.steps import Step
from prune.watch import Watch


@contextmanager
def shown(steps: Iterator[Step], count: int | None, progress: bool) -> Iterator[Iterable[Step]]:
    """Yield the steps, with a progress bar on stderr if wanted."""
    if not progress:
        yield steps
        return
    import click

    bar: Any = click.progressbar(steps, length=count, label="pruning", file=sys.stderr, width=0)
    with bar:
        yield bar


def say(model: nn.Module, masks: Masks, probe: Probe, watch: Watch) -> None:
    """Write one line about the masks to stderr: kept, effective, connected, certified, compact."""
    import click

    parts = [f"kept {kept(masks):,} of {size(masks):,} weights"]
    try:
        parts.append(f"{kept(effective(model, masks, probe)):,} of them effective")
        parts.append("connected" if connected(model, masks, probe) else "NOT connected")
    except ValueError as error:
        parts.append(f"paths unknown ({error})")
    if watch.ratio is not None:
        parts.append("certified" if watch.ratio < 1 else "not certified")
    click.echo("; ".join([*parts, _compacted(model, masks, probe)]), err=True)


def _compacted(model: nn.Module, masks: Masks, probe: Probe) -> str:
    """Return what `compact` would leave, or the reason why it cannot be applied."""
    inputs = ones(model, probe).floating()
    try:
        twin = copy.deepcopy(model)
        apply(twin, masks)
        left = compact(twin, inputs[0].to(next(twin.parameters()).dtype))
    except (ValueError, RuntimeError, IndexError) as error:
        return f"compact cannot be applied ({str(error).partition(': ')[0]})"
    return parameters_left(model, left)
