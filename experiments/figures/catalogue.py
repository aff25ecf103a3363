"""Which figures there are, what each is made of, and which options it takes."""

from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.config import RunConfig, resolve
from experiments.figures import (
    accuracy,
    first_pictures,
    iterative_magnitude,
    layer_conservation,
    layer_density,
    neuron_conservation,
    precision,
    schedules,
    small_network,
    style,
    variants,
    worked_example,
)
from experiments.progress import Progress

FROM_RUNS = {
    "1": accuracy.draw_one,
    "5": iterative_magnitude.draw,
    "6": accuracy.draw_all,
    "variants": variants.draw,
}
AT_INITIALISATION = {
    "2": layer_density,
    "3": neuron_conservation,
    "4": layer_conservation,
    "7": schedules,
    "precision": precision,
}
NETWORK = ("model", "dataset", "width", "init", "seed", "device", "compute")
OPTIONS = {
    "0": ("weights",),
    **dict.fromkeys(FROM_RUNS, ("model", "dataset", "width", "best")),
    **dict.fromkeys(AT_INITIALISATION, (*NETWORK, "data_dir")),
    "7": (*NETWORK, "full"),
    "precision": NETWORK,
}
USUAL = {"data_dir": RunConfig().data_dir}
Drawn = tuple[Path, list[str]]


def figure(number: str, results: str, given: Mapping[str, object]) -> Callable[[Progress], Drawn]:
    """What draws a figure, after computing what it lacks if `given` says "compute".

    Args:
        number: A key of OPTIONS.
        results: The folder of runs and cells; picture and CSV go to its folder `figures`.
        given: Options by name, None where not given.

    Returns:
        A function, to be told who listens, that returns the picture's path, and sentences on
        how its numbers compare with the published. It raises FileNotFoundError if there is
        nothing to draw, and ValueError if a file is damaged.

    Raises:
        ValueError: If an option is wrong, or means nothing to this figure.
    """
    chosen = {n: v for n, v in given.items() if v not in (None, USUAL.get(n))}
    if idle := [name for name in chosen if name not in OPTIONS[number]]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise ValueError(f"{names} means nothing to figure {number}")
    folder = Path(results).absolute() / "figures"
    if number == "0":
        return _worked_example(folder, chosen.get("weights"))
    make = _maker(number, results, chosen)
    name = f"figure{number}" if number.isdigit() else number

    def draw(progress: Progress) -> Drawn:
        drawing = make(progress)
        return style.write(drawing, folder, name), drawing.notes

    return draw


def _worked_example(folder: Path, weights: str | None) -> Callable[[Progress], Drawn]:
    if weights is not None:
        network = small_network.parse(weights)
        return lambda progress: (worked_example.draw(folder, network), [])

    def draw(progress: Progress) -> Drawn:
        first_pictures.draw(folder)
        return worked_example.draw(folder), []

    return draw


def _maker(number: str, results: str, chosen: dict) -> Callable[[Progress], style.Drawing]:
    if number in FROM_RUNS:
        best = chosen.pop("best", False)
        return lambda progress: FROM_RUNS[number](Path(results), chosen, best)
    compute, full = chosen.pop("compute", False), chosen.pop("full", False)
    module = AT_INITIALISATION[number]
    configs = _networks(number, chosen | {"results": results, "epochs": 0})

    def make(progress: Progress) -> style.Drawing:
        if compute:
            module.compute(configs, progress, full)
        return module.draw(configs)

    return make


def _networks(number: str, chosen: dict) -> list[RunConfig]:
    """The paper's network (for `precision` four), or the one that is chosen."""
    if number != "precision":
        paper = {"model": "vgg19-plain", "dataset": "imagenet"}
        init = {} if "model" in chosen else {"init": "published"}
        return [resolve(paper | init | chosen)]
    if "model" in chosen or "dataset" in chosen:
        return [resolve(chosen)]
    networks = ({"model": model, "dataset": dataset} for model, dataset in precision.NETWORKS)
    return [resolve(names | chosen) for names in networks]
