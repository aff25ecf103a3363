"""Figures of a tiny network at initialisation, computed in a few steps."""

from pathlib import Path

from click.testing import CliRunner, Result

from cli import main
from experiments.config import RunConfig
from experiments.figures import layer_density, prune_cut_ratio
from experiments.resolve import resolve
from experiments.runs.progress import Silent

TINY = {"model": "vgg19-plain", "dataset": "cifar10", "width": 0.04, "init": "published"}
PAPER = {"model": "vgg19-plain", "dataset": "imagenet", "init": "published", "epochs": 0}
AT_INITIALISATION = ("2", "3", "4", "7")


def tiny(folder: Path) -> RunConfig:
    """The tiny network, with its cells under `folder`."""
    return resolve(TINY | {"epochs": 0, "results": str(folder), "data_dir": "nowhere"})


def paper(folder: Path) -> RunConfig:
    """The paper's network, with its cells under `folder`."""
    return resolve(PAPER | {"results": str(folder)})


def tiny_options() -> list[object]:
    """The options of `figure` that choose the tiny network."""
    return [word for name, value in TINY.items() for word in (f"--{name}", value)]


def take_few_steps(patch) -> None:
    """Reduce the pruning steps of figures 2 and 7."""
    patch.setattr(layer_density, "STEPS", 4)
    patch.setattr(prune_cut_ratio, "STEPS", (1, 2, 4))
    patch.setattr(prune_cut_ratio, "ALL_STEPS", (1, 2, 4))


def figure(number: str, folder: Path, *options: object) -> Result:
    """Run `cli.py figure`."""
    return CliRunner().invoke(main, ["figure", number, "--results", folder, *map(str, options)])


class Counter(Silent):
    """Count ticks, and interrupt after `limit` of them."""

    def __init__(self, limit: int = 10**9):
        self.ticks, self.limit, self.length = 0, limit, 0

    def begin(self, label, length):
        self.length = length

    def tick(self, count=1):
        self.ticks += count
        if self.ticks >= self.limit:
            raise KeyboardInterrupt
