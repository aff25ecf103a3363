"""A run's configuration: every value that decides its result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch

from prune.scores import READS_DATA
from train.recipes import RECIPES, Recipe

DTYPES = {"float64": torch.float64, "float32": torch.float32}
TRAINING = ("batch_size", "lr", "lr_drops", "drop_factor", "weight_decay")
ABLATIONS = ("shuffle", "reinit", "invert")
PRUNING = ("steps", "schedule", "scope", "ablate", "cycles", "rewind")  # idle where all is kept
ELSEWHERE = ("data_dir", "results", "workers")  # where and how, without a trace in the result


@dataclass(frozen=True)
class RunConfig:
    """One experiment: config -> data -> model -> scores -> masks -> training -> result."""

    model: str = "mlp"
    dataset: str = "digits"
    pruner: str = "synflow"
    compression: float = 10.0
    steps: int | None = None  # None: certified decides
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
    train_images: int | None = None  # a fixed subset of the training set, of this size
    workers: int | None = None
    data_dir: str = "data"
    results: str = "results"

    @property
    def training(self) -> Recipe:
        """The recipe, with the hyperparameters of this run."""
        chosen = {name: getattr(self, name) for name in ("epochs", *TRAINING)}
        return replace(RECIPES[self.recipe](self.model, self.dataset), **chosen)

    @property
    def reads_data(self) -> bool:
        """Whether the run needs the data set on disk."""
        return self.epochs > 0 or self.pruner in READS_DATA

    @property
    def decisive(self) -> dict:
        """Every value that decides the result; what a run's files keep of its configuration."""
        return {name: value for name, value in asdict(self).items() if name not in ELSEWHERE}

    @property
    def directory(self) -> Path:
        """Where the run is kept: readable, and one for each configuration.

        What has its default value has no part in the name, so a new option renames no old run.
        """
        default = asdict(RunConfig())
        chosen = {name: v for name, v in self.decisive.items() if v != default[name]}
        chosen["device"] = torch.device(self.device).type  # cuda:1 is as good as cuda:0
        digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]
        model = self.model.replace(":", "-").replace("/", "-")
        pruner = f"imp{self.cycles}" if self.cycles else self.pruner
        name = f"{model}-{self.dataset}-{pruner}-{self.compression:g}-seed{self.seed}-{digest}"
        return Path(self.results).absolute() / name


def restore(stored: Mapping[str, object]) -> RunConfig:
    """The configuration that a result file holds.

    Raises:
        ValueError: If entries are missing or unknown.
    """
    names = {field.name for field in fields(RunConfig)} - set(ELSEWHERE)
    if set(stored) != names:
        raise ValueError(f"the stored config lacks or adds {', '.join(set(stored) ^ names)}")
    return RunConfig(**{**stored, "lr_drops": tuple(stored["lr_drops"])})
