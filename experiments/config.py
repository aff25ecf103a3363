"""A run's configuration: every value that decides its result."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from math import inf
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin

import torch

from experiments.pruners import reads_data
from prune.scores import TEMPERATURE
from train.data import Dataset, known
from train.recipes import RECIPES, Recipe

DTYPES = {"float64": torch.float64, "float32": torch.float32}
HYPERPARAMETERS = ("batch_size", "lr", "lr_drops", "drop_factor", "weight_decay")
ABLATIONS = ("shuffle", "reinit", "invert")
PRUNING_DETAILS = (  # fields without a meaning where all weights are kept
    "steps",
    "schedule",
    "scope",
    "allocation",
    "ablate",
    "cycles",
    "rewind",
    "exclude",
    "bn",
)
BN = ("running", "batch")
ELSEWHERE = ("data_dir", "results", "workers", "compact", "log")  # they decide rounding at most

# Result files of older versions lack the fields that came later. This is the value that those
# runs had, by what the code of that time did; it need not be the default of today.
BEFORE: dict[str, object] = {
    "ablate": None,
    "record_weights": False,
    "precision": "float32",
    "compile": False,
    "cycles": 0,
    "rewind": True,
    "train_images": None,
    "exclude": (),
    "allocation": None,
    "bn": "running",
}


@dataclass(frozen=True)
class RunConfig:
    """One experiment: config -> data -> model -> scores -> masks -> training -> result.

    `RunConfig()` is not the default run: its `steps`, `epochs` and hyperparameters only stand for
    values that `resolve` fills in. The default run is `experiments.resolve.resolve({})`.
    """

    model: str = "mlp"
    dataset: str = "digits"
    pruner: str = "synflow"
    compression: float = 10.0
    steps: int | None = None  # None: as many as certified needs
    schedule: str = "exponential"
    scope: str = "global"
    ablate: str | None = None  # or a name in ABLATIONS
    seed: int = 0
    width: float = 1.0
    init: str = "paper"
    device: str = "auto"
    score_dtype: str = "float64"
    recipe: str = "paper"
    epochs: int = 0
    batch_size: int = 1
    lr: float = 0.1
    lr_drops: tuple[int, ...] = ()
    drop_factor: float = 0.1
    weight_decay: float = 0.0
    record_weights: bool = False
    precision: str = "float32"
    compile: bool = False
    cycles: int = 0  # of iterative magnitude pruning; 0 prunes at initialisation
    rewind: bool = True
    train_images: int | None = None  # size of a fixed subset of the training set; None: all
    exclude: tuple[str, ...] = ()  # patterns of the weights that stay dense and do not count
    allocation: str | None = None  # or a name in ALLOCATIONS
    bn: str = "running"  # or "batch": the statistics of batch norm in scores that read data
    workers: int | None = None
    compact: bool | None = None  # train what the masks leave; None: where that is possible
    log: str | None = None  # or a callback: tensorboard, package.module:callback
    data_dir: str = "data"
    results: str = "results"

    @property
    def data(self) -> Dataset:
        """The sizes, shape and classes of the data set."""
        return known(self.dataset)

    @property
    def training(self) -> Recipe:
        """The recipe with the hyperparameters of this run."""
        chosen = {name: getattr(self, name) for name in ("epochs", *HYPERPARAMETERS)}
        return replace(RECIPES[self.recipe](self.model, self.dataset), **chosen)

    @property
    def reads_data(self) -> bool:
        """True if the run needs the data set on disk."""
        return self.epochs > 0 or reads_data(self.pruner)

    @property
    def decisive(self) -> dict:
        """Every field that decides the result: the configuration that result files hold."""
        return {name: getattr(self, name) for name in DECISIVE}

    @property
    def directory(self) -> Path:
        """The folder of the run: its name is readable, and each configuration has its own.

        A field takes part in the name where it differs from its default, or for a field that came
        later from its value in BEFORE. So a new option renames no old run. `grasp` has a
        temperature in its name, since before `bn` it named what `grasp-text` is now.
        """
        return Path(os.path.join(os.getcwd(), self.results, self.name))

    @cached_property
    def name(self) -> str:
        """The name of the run's folder."""
        silent = DEFAULTS | BEFORE
        chosen = {name: v for name, v in self.decisive.items() if v != silent[name]}
        if self.pruner == "grasp":
            chosen["temperature"] = TEMPERATURE
        chosen["device"] = torch.device(self.device).type  # cuda:1 is as good as cuda:0
        digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]
        model, dataset = in_file_names(self.model), in_file_names(self.dataset)
        pruner = f"imp{self.cycles}" if self.cycles else in_file_names(self.pruner)
        return f"{model}-{dataset}-{pruner}-{self.compression:g}-seed{self.seed}-{digest}"


DECISIVE = tuple(field.name for field in fields(RunConfig) if field.name not in ELSEWHERE)
DEFAULTS = asdict(RunConfig())


def in_file_names(name: str) -> str:
    """The name of a model, a data set or a score as file names have it, at most 100 characters."""
    return name.replace(":", "-").replace("/", "-").replace("\\", "-")[-100:]


def restore(stored: Mapping[str, object]) -> RunConfig:
    """Read the configuration that a result file holds, also one of an older version.

    A field that came later has its value in BEFORE. `grasp` of before `bn` is `grasp-text`.

    Raises:
        ValueError: If a field is unknown or has a wrong kind of value, or one is missing that
            every version wrote, or there is no such data set.
    """
    if unknown := stored.keys() - KINDS.keys():
        raise ValueError(f"the stored config has unknown fields: {', '.join(sorted(unknown))}")
    if missing := KINDS.keys() - stored.keys() - BEFORE.keys():
        raise ValueError(f"the stored config lacks {', '.join(sorted(missing))}")
    if wrong := [name for name, value in stored.items() if not KINDS[name](value)]:
        raise ValueError(f"{wrong[0]} of the stored config is of a wrong kind")
    if ":" not in stored["dataset"]:  # a user's own is not opened
        known(stored["dataset"])
    text = "bn" not in stored and stored["pruner"] == "grasp"
    renamed = {"pruner": "grasp-text"} if text else {}
    lists = {name: tuple(stored[name]) for name in ("lr_drops", "exclude") if name in stored}
    return RunConfig(**BEFORE | {**stored, **renamed, **lists})


def fits(kind: object) -> Callable[[object], bool]:
    """Make the function that is True for the values, as read from JSON, of a kind.

    NaN and infinity are no numbers, True is no int, and lists stand for tuples.

    Args:
        kind: A type; a union; list, tuple or dict of a type, as in `tuple[int, ...]`; a tuple of
            kinds, one of which is enough; or a dict: entries that the value has, and their kinds.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(kind, dict):
        entries = {name: fits(part) for name, part in kind.items()}
        return lambda v: isinstance(v, dict) and all(n in v and f(v[n]) for n, f in entries.items())
    if isinstance(kind, tuple) or origin is UnionType:
        either = [fits(part) for part in parts or kind]
        return lambda v: any(f(v) for f in either)
    if origin in (list, tuple):
        item = fits(parts[0])
        return lambda v: isinstance(v, list | tuple) and all(map(item, v))
    if origin is dict:
        item = fits(parts[1])
        return lambda v: isinstance(v, dict) and all(map(item, v.values()))
    if kind is float:
        return lambda v: type(v) in (int, float) and -inf < v < inf
    return lambda v: type(v) is (type(None) if kind is None else kind)


KINDS = {f.name: fits(f.type) for f in fields(RunConfig) if f.name in DECISIVE}
