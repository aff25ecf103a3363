"""The search for critical compressions (Sec. 3): how far each method prunes with a path left open.

One search is one network, seed and method. Each result is a line of a file of its network, written
as soon as it is found, so an interrupted computation continues with the next.
"""

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log10
from pathlib import Path
from typing import NamedTuple

from torch import nn

from experiments.config import RunConfig
from experiments.figures import cells, one_shot
from experiments.runs.build import initial_model
from experiments.runs.files import write_text
from experiments.runs.progress import Progress
from prune import SCORES, Probe, connected, prune
from prune.connected import fewest
from prune.masks import dense_masks, size
from prune.notices import LayerCollapse
from prune.pruning import keep_top
from prune.schedules import CertifiedStop, target

CRITICAL = "critical"  # the folder, in a results folder, for the results
GRID = 4  # compressions of a decade, for methods of several steps


class Method(NamedTuple):
    """A score and its number of steps; None: the certified schedule."""

    pruner: str
    steps: int | None = 1

    @property
    def label(self) -> str:
        """Name the method: snip, synflow 100, synflow certified."""
        if self.steps is None:
            return f"{self.pruner} certified"
        return self.pruner if self.steps == 1 else f"{self.pruner} {self.steps}"


class Found(NamedTuple):
    """The result of a search: counts of weights, of N."""

    seed: int
    method: str
    N: int
    shortest: int  # the fewest weights that any mask can keep with a path open
    open: int  # the fewest that the method kept with a path open
    closed: int | None  # the most that it kept below that, without a path; None: none was tried
    exact: bool  # every count was possible, not only those of the grid
    images: str | None  # that the score read
    seconds: float

    @property
    def compression(self) -> float:
        """The critical compression, N over the weights kept."""
        return self.N / self.open

    @property
    def ended(self) -> bool:
        """True if a path was left at the end: with one shortest path, or at the last of a grid."""
        return self.closed is None and (not self.exact or self.open == self.shortest)


# ---- files ----------------------------------------------------------------------------------


def path(config: RunConfig) -> Path:
    """Name the file of a network, for all seeds."""
    network = cells.folder(config).name.rpartition("-seed")[0]
    return cells.folder(config).parents[1] / CRITICAL / f"{network}.jsonl"


def saved(config: RunConfig) -> list[Found]:
    """Read the results of a network. A last line without its end was interrupted and is left out.

    Raises:
        ValueError: If another line is damaged.
    """
    file = path(config)
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    try:
        return [Found(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} has a damaged line ({error}); delete that line") from None


def save(config: RunConfig, found: Found) -> None:
    """Add a result to the file of its network, after the last whole line."""
    file = path(config)
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.read_text().rpartition("\n") if file.exists() else ("", "", "")
    text = "".join(whole[:2]) + json.dumps(found._asdict()) + "\n"
    write_text(file, text)


# ---- search ---------------------------------------------------------------------------------


def search(config: RunConfig, method: Method, progress: Progress) -> Found:
    """Find the critical compression of a method for one network and seed.

    Scores that are taken once make nested masks, and `certified` ends at its least count: both are
    exact. Otherwise compressions are 10^(k / GRID): first the largest that any mask can reach, then
    by bisection, in which a path at one compression counts as a path at those below.
    """
    start = time.perf_counter()
    model = initial_model(config)
    read_once, images = one_shot.scoring_probe(config, method.pruner, progress)
    probe = replace(read_once, batches=tuple(read_once.batches))
    N, shortest = size(dense_masks(model)), fewest(model, probe)
    if method.steps is None:
        left, closed = _certified(model, probe), None
    elif method.steps == 1:
        left, closed = _one_shot(model, method.pruner, probe, shortest)
    else:
        left, closed = _iterated(model, method, probe, N, shortest)
    exact = method.steps in (None, 1)
    seconds = round(time.perf_counter() - start, 2)
    return Found(config.seed, method.label, N, shortest, left, closed, exact, images, seconds)


def _one_shot(model: nn.Module, pruner: str, probe: Probe, shortest: int) -> tuple[int, int | None]:
    """Bisect the number of weights that one scoring keeps."""
    masks = dense_masks(model)
    N, scores = size(masks), SCORES[pruner](model, masks, probe)

    def is_open(count: int) -> bool:
        nonlocal masks
        left = keep_top(scores, masks, count)
        if found := connected(model, left, probe):
            masks = left  # all later counts are smaller
        return found

    return _boundary(range(shortest, N + 1), is_open)


def _iterated(
    model: nn.Module, method: Method, probe: Probe, N: int, shortest: int
) -> tuple[int, int | None]:
    """Bisect the compressions of the grid."""
    last = int(GRID * log10(N / shortest))
    compressions = {target(N, rho): rho for rho in (10 ** (k / GRID) for k in range(last + 1))}

    def is_open(count: int) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerCollapse)  # the answer that is asked for
            masks = prune(model, method.pruner, probe, compressions[count], method.steps)
        return connected(model, masks, probe)

    return _boundary(sorted(compressions), is_open)


def _boundary(counts: Sequence[int], is_open: Callable[[int], bool]) -> tuple[int, int | None]:
    """Return the least count that is open and the one before it, which is not; the last is open."""
    if is_open(counts[0]):
        return counts[0], None
    closed, opened = 0, len(counts) - 1
    while opened - closed > 1:
        middle = (closed + opened) // 2
        if is_open(counts[middle]):
            opened = middle
        else:
            closed = middle
    return counts[opened], counts[closed]


def _certified(model: nn.Module, probe: Probe) -> int:
    """Return the least count that the certified schedule reaches."""
    try:
        prune(model, "synflow", probe, size(dense_masks(model)), schedule="certified")
    except CertifiedStop as stop:
        return stop.reached
    return 1
