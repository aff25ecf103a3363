"""Training of a pruned network: accuracies, history.csv and weights.csv."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from math import isclose
from pathlib import Path
from typing import NamedTuple

from torch import nn

from experiments.config import RunConfig
from experiments.runs import files
from experiments.runs.compacted import to_train, trained_facts
from experiments.runs.facts import masks_sha256, weight_rows
from experiments.runs.log import kept_parts, log
from experiments.runs.progress import Progress
from experiments.runs.sharing import TRAINED, beginning, take
from experiments.runs.untrained import untrained
from prune import apply, masks_of
from prune.masks import Masks
from train.batches import Task
from train.checkpoint import fingerprint
from train.evaluation import evaluation_batches
from train.loop import train
from train.prepared import prepared
from train.ranks import check_same, rank


class Trained(NamedTuple):
    """The outcome of a training."""

    measured: dict  # "trained", "untrained", "best" and "final", as in result.json
    seconds: float
    start: str | None  # its beginning, as checkpoint.pt has it


def apply_everywhere(model: nn.Module, masks: Masks) -> None:
    """Apply the masks on this rank.

    Raises:
        ValueError: On all ranks, if their masks differ.
    """
    check_same("masks", masks_sha256(masks))
    apply(model, masks)


def fit(
    config: RunConfig,
    directory: Path,
    model: nn.Module,
    data: Task | None,
    progress: Progress,
    before: int = 0,
) -> Trained:
    """Train the network in place, and measure it before, after its best epoch and at the end.

    Channels that nothing reads take no part in it; afterwards their weights are as if they had.
    Go on from the checkpoint in `directory`, or share an equal training of another run. The
    first rank writes checkpoint.pt, history.csv and weights.csv after each epoch. `before` is the
    number of trainings of the run before this one.
    """
    watch = partial(log, config, before)
    kept = kept_parts(config, masks_of(model))
    if config.epochs == 0:
        watch(0, kept)
        return Trained(dict.fromkeys(("trained", "untrained", "best", "final")), 0, None)
    progress.begin("preparing the training", None)
    small, part = to_train(config, model, progress)
    trained = trained_facts(config, model, small)
    net = prepared(small, config.precision, config.compile)
    begun, start = beginning(config, model), fingerprint(model, config.training, config.seed)
    first = untrained(config, directory, start, net, data, progress)
    watch(0, {"test_loss": first["loss"], "top1": first["top1"], "top5": first["top5"], **kept})
    on_epoch = _EpochRecorder(config, directory, model, progress, watch)
    steps = -(-len(data.train.labels) // config.batch_size) + evaluation_batches(data)

    def begin(done: int) -> None:
        if done:
            progress.note(f"goes on after epoch {done} of {config.epochs}")
        progress.begin("training", (config.epochs - done) * steps)

    if rank() == 0 and _share(config, directory, begun, start):
        progress.note("another run did the same training; it is not repeated")
    checkpoint = directory / files.CHECKPOINT
    given = config.training, config.seed, checkpoint, on_epoch, progress.tick
    history = train(net, data, *given, part=part, begin=begin)
    if rank() == 0:
        files.write_text(directory / TRAINED, begun)
    best = max(history, key=lambda row: row["top1"])  # the earliest, if several
    accuracies = {"best": _accuracy(best), "final": _accuracy(history[-1])}
    measured = {"trained": trained, "untrained": first, **accuracies}
    return Trained(measured, seconds_of(history), start)


def _share(config: RunConfig, directory: Path, begun: str, start: str) -> bool:
    """Share the checkpoint of an equal training; True if `directory` now has it."""
    if config.record_weights or (directory / files.CHECKPOINT).exists():
        return False
    return take(begun, start, directory, Path(config.results))


def _accuracy(row: dict) -> dict:
    return {"top1": row["top1"], "top5": row["top5"], "loss": row["test_loss"]}


class _EpochRecorder:
    """The callback of `train` after each epoch: writes the CSV files, logs, and shows a line."""

    def __init__(
        self,
        config: RunConfig,
        directory: Path,
        model: nn.Module,
        progress: Progress,
        watch: Callable[[int, dict], None],
    ):
        self.config, self.directory, self.model, self.progress = config, directory, model, progress
        self.watch = watch
        self.history: list[dict] = []
        self.weights = self._weights_so_far() if config.record_weights else None

    def __call__(self, row: dict) -> None:
        self.history.append(row)
        if rank() == 0:
            path = self.directory / files.HISTORY
            files.write_rows(path, files.HISTORY_COLUMNS, self.history)
            self._record_weights(row["epoch"])
        self.watch(row["epoch"], row)
        self.progress.note(_epoch_line(self.history, self.config.epochs))

    def _weights_so_far(self) -> list[dict]:
        """The rows of weights.csv; at first those of the untrained network."""
        path = self.directory / files.WEIGHTS
        first = weight_rows(self.model, 0, self.config.exclude)
        if not path.exists():
            return first
        rows = files.read_rows(path, files.WEIGHT_COLUMNS)
        if len(rows) % len(first) or not all(map(_alike, first, rows)):
            raise ValueError(f"{path} is that of another training, or torn; move it away")
        return rows

    def _record_weights(self, epoch: int) -> None:
        """Add the rows of an epoch, unless an earlier session has done so."""
        if self.weights is not None and epoch > self.weights[-1]["epoch"]:
            self.weights.extend(weight_rows(self.model, epoch, self.config.exclude))
            files.write_rows(self.directory / files.WEIGHTS, files.WEIGHT_COLUMNS, self.weights)


def _alike(row: dict, other: dict) -> bool:
    """True for rows of weights.csv that differ by rounding only."""
    same = row["epoch"] == other["epoch"] and row["name"] == other["name"]
    return same and isclose(row["mean_square"], other["mean_square"], rel_tol=1e-6)


def _epoch_line(history: list[dict], epochs: int) -> str:
    row, seconds = history[-1], seconds_of(history) / len(history)
    left = timedelta(seconds=round(seconds * (epochs - len(history))))
    return (
        f"epoch {row['epoch']}/{epochs}  lr {row['lr']:g}  train loss {row['train_loss']:.4f}  "
        f"test loss {row['test_loss']:.4f}  top-1 {row['top1']:.2f} %  {left} left"
    )


def seconds_of(rows: list[dict]) -> float:
    """The total time of some steps, epochs or cycles."""
    return sum(row["seconds"] for row in rows)
