"""The catalogue of figures: the module and the options of each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from experiments.config import RunConfig
from experiments.figures import (
    accuracy,
    cells,
    collapse,
    cost,
    critical,
    first_pictures,
    iterative_magnitude,
    layer_conservation,
    layer_density,
    neuron_conservation,
    precision,
    prune_cut_ratio,
    seeds,
    small_network,
    style,
    variants,
    worked_example,
)
from experiments.figures.canvas import FORMATS
from experiments.resolve import one_of, resolve
from experiments.runs.notes import heard
from experiments.runs.progress import Progress


class NetworkFigure(Protocol):
    """A module that computes and draws a figure of networks at initialisation."""

    def compute(self, configs: Sequence[RunConfig], progress: Progress) -> None:
        """Compute and save the missing cells. Figure 7 also takes `full`."""

    def draw(self, configs: Sequence[RunConfig]) -> style.Drawing:
        """Draw the saved cells; raise FileNotFoundError if there is none."""


# Each is called with the results folder, the filters by field, and whether to draw best epochs.
FROM_RUNS: dict[str, Callable[[Path, Mapping[str, object], bool], style.Drawing]] = {
    "1": accuracy.draw_one,
    "5": iterative_magnitude.draw,
    "6": accuracy.draw_all,
    "cost": cost.draw,
    "variants": variants.draw,
}
AT_INITIALISATION: dict[str, NetworkFigure] = {
    "2": layer_density,
    "3": neuron_conservation,
    "4": layer_conservation,
    "7": prune_cut_ratio,
    "precision": precision,
    "critical": critical,
}
SEVERAL: dict[str, list[dict]] = {  # figure -> the networks that it has by default
    "precision": [{"model": model, "dataset": dataset} for model, dataset in precision.NETWORKS],
    "critical": critical.networks(),
}
RUN_FILTERS = ("model", "dataset", "width", "best")
LOOK_OPTIONS = ("format", "dark")
FROM_RUNS_OPTIONS = (*RUN_FILTERS, *LOOK_OPTIONS)
NETWORK_OPTIONS = ("model", "dataset", "width", "init", "seed", "device", "compute", *LOOK_OPTIONS)
OPTIONS: dict[str, tuple[str, ...]] = {
    "0": ("weights", *LOOK_OPTIONS),
    "1": FROM_RUNS_OPTIONS,
    "5": FROM_RUNS_OPTIONS,
    "6": FROM_RUNS_OPTIONS,
    "cost": FROM_RUNS_OPTIONS,
    "variants": FROM_RUNS_OPTIONS,
    "table": RUN_FILTERS,
    "2": (*NETWORK_OPTIONS, "data_dir"),
    "3": (*NETWORK_OPTIONS, "data_dir"),
    "4": (*NETWORK_OPTIONS, "data_dir"),
    "7": (*NETWORK_OPTIONS, "full"),
    "precision": NETWORK_OPTIONS,
    "critical": (*NETWORK_OPTIONS, "full", "data_dir"),
}
DEFAULTS = {"data_dir": RunConfig().data_dir}
Drawn = tuple[Path, list[str]]  # the picture's path, and notes
Made = dict[str, style.Drawing]  # file name -> drawing; the last one is the figure


def figure(number: str, results: str, given: Mapping[str, object]) -> Callable[[Progress], Drawn]:
    """Make the function that draws a figure, after computing its cells if `given` has "compute".

    Args:
        number: A key of OPTIONS.
        results: The folder of runs and cells; picture and CSV go to its folder `figures`.
        given: Options by name, None where not given.

    Returns:
        A function of a Progress. It returns the picture's path, and notes that compare our
        numbers with the published ones. It shows the results that are damaged and left out. It
        raises FileNotFoundError if there is nothing to draw, and ValueError if a cell is damaged.

    Raises:
        ValueError: If an option has a wrong value, or the figure does not take it.
    """
    chosen = {n: v for n, v in given.items() if v not in (None, DEFAULTS.get(n))}
    if unused := [name for name in chosen if name not in OPTIONS[number]]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise ValueError(f"{names} means nothing to figure {number}")
    folder = Path(results).absolute() / "figures"
    if number == "table":
        best = chosen.pop("best", False)
        return _hearing(lambda progress: seeds.write(Path(results), chosen, best, folder))
    formats, dark = chosen.pop("format", ["png"]), chosen.pop("dark", False)
    for name in formats:
        one_of("format", name, FORMATS)
    make = _drawing(number, results, chosen)

    def draw(progress: Progress) -> Drawn:
        made = make(progress)
        paths = [style.write(made[name], folder, name, formats, dark) for name in made]
        return paths[-1], list(made.values())[-1].notes

    return _hearing(draw)


def _hearing(draw: Callable[[Progress], Drawn]) -> Callable[[Progress], Drawn]:
    """The same function; it shows as lines of progress which files are left out."""

    def shown(progress: Progress) -> Drawn:
        with heard([], progress):
            return draw(progress)

    return shown


def _worked_example(weights: str | None) -> Callable[[Progress], Made]:
    if weights is not None:
        network = small_network.parse(weights)
        return lambda progress: {"figure0": worked_example.draw(network)}
    return lambda progress: first_pictures.draw() | {"figure0": worked_example.draw()}


def _drawing(number: str, results: str, chosen: dict) -> Callable[[Progress], Made]:
    """Make the function that computes and draws a figure, without writing it."""
    name = f"figure{number}" if number.isdigit() else number
    if number == "0":
        return _worked_example(chosen.get("weights"))
    if number in FROM_RUNS:
        best = chosen.pop("best", False)
        return lambda progress: {name: FROM_RUNS[number](Path(results), chosen, best)}
    compute = chosen.pop("compute", False)
    full = {"full": chosen.pop("full")} if "full" in chosen else {}
    module = AT_INITIALISATION[number]
    configs = _networks(number, chosen | {"results": results, "epochs": 0})

    def make(progress: Progress) -> Made:
        if compute:
            before = _computed(results)
            module.compute(configs, progress, **full)
            _say_unchanged(before, results, progress)
        return {name: module.draw(configs)}

    return make


def _say_unchanged(before: dict[Path, int], results: str, progress: Progress) -> None:
    if _computed(results) == before:
        progress.note("all numbers of this figure are computed; nothing is repeated")


def _computed(results: str) -> dict[Path, int]:
    """Map the files of computed numbers to their dates."""
    folders = (cells.INITIAL, collapse.CRITICAL)
    found = (path for name in folders for path in Path(results, name).rglob("*"))
    return {path: path.stat().st_mtime_ns for path in found if path.is_file()}


def _networks(number: str, chosen: dict) -> list[RunConfig]:
    """List the chosen network, or by default that of the paper (for some figures, several)."""
    if "model" not in chosen and "dataset" not in chosen and number in SEVERAL:
        named = SEVERAL[number]
    elif number in SEVERAL:
        named = [{}]
    else:
        paper = {"model": "vgg19-plain", "dataset": "imagenet"}
        named = [paper | ({} if "model" in chosen else {"init": "published"})]
    return list(dict.fromkeys(resolve(names | chosen) for names in named))
