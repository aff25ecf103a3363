"""The runs in a results folder, sorted into panels and curves."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.config import restore
from experiments.figures.style import LOOKS
from experiments.runs.files import read_results
from experiments.series import DENSE, Series, series_of
from train.data import DATASETS

# The fields of a configuration that are not part of a panel's setting.
POINT = ("compression", "seed")  # the place on a curve
CURVE = (
    "pruner",
    "steps",
    "schedule",
    "scope",
    "score_dtype",
    "ablate",
    "cycles",
    "rewind",
    "exclude",
    "allocation",
    "bn",
)
VARIED = ("scope", "score_dtype", "ablate", "allocation", "bn")  # fields of a Series
WITHOUT_EFFECT = ("device", "record_weights")  # on accuracies
ONCE = ("series", "compression", "seed")  # of several runs that agree in these, one is shown
NAMES = {
    "vgg11": "VGG-11",
    "vgg16": "VGG-16",
    "vgg19": "VGG-19",
    "vgg19-plain": "VGG-19 without BN",
    "resnet18": "ResNet-18",
    "wrn18": "WideResNet-18",
    **{f"resnet{depth}": f"ResNet-{depth}" for depth in (20, 32, 56, 110)},
    "mlp": "MLP",
    "train.small:vit": "small ViT",
    "train.small:mobilenet_v3": "small MobileNetV3",
    "digits": "digits",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny-imagenet": "Tiny ImageNet",
    "imagenet": "ImageNet",
}


class Panel(NamedTuple):
    """Runs that differ only in how they prune and in their seed."""

    setting: dict  # the other fields of their configuration
    rows: list[dict]  # one per run; "series" is a Series

    @property
    def name(self) -> str:
        """The network and the data set, and the width unless it is 1."""
        return name(self.setting["model"], self.setting["width"], self.setting["dataset"])


def name(model: str, width: float, dataset: str) -> str:
    """The network and the data set as papers write them."""
    scaled = f" (width {width:g})" if width != 1 else ""
    return f"{NAMES.get(model, model)}{scaled}, {NAMES.get(dataset, dataset)}"


def runs(results: Path) -> list[dict]:
    """Read the results of all finished runs in the folder.

    Returns:
        The content of each result.json, with the whole configuration also for files of older
        versions; and besides "directory", a path, and "series", the curve of the run.

    Warns:
        PassedOver: For each result that is damaged or that of another run; it is left out.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = [_restored(*pair) for pair in read_results(results)]
    if not found:
        error = FileNotFoundError(f"no finished run is in {results}")
        error.remedy = "sweep"
        raise error
    return found


def _restored(result: dict, directory: Path) -> dict:
    config = restore(result["config"])
    more = {"config": config.decisive, "directory": directory, "series": series_of(config)}
    return {**result, **more}


def panels(
    found: Iterable[dict],
    filters: Mapping[str, object],
    make: Callable[[Mapping], dict] | None = None,
) -> list[Panel]:
    """Sort trained runs into panels; only those whose configuration has the filters' values.

    Args:
        found: Results, as `runs` reads them.
        filters: Fields of a run's configuration -> the values wanted.
        make: The function that makes a row of a result; by default `row`.

    Raises:
        ValueError: If none is left.
    """
    groups: dict[tuple, Panel] = {}
    shown = set()
    for result in found:
        config = result["config"]
        if filters.items() <= config.items() and result["final"] is not None:
            setting = {k: v for k, v in config.items() if k not in POINT + CURVE + WITHOUT_EFFECT}
            panel = groups.setdefault(tuple(setting.items()), Panel(setting, []))
            made = (make or row)(result)
            identity = tuple(setting.items()), *(made[key] for key in ONCE)
            if identity not in shown:
                shown.add(identity)
                panel.rows.append(made)
    if not groups:
        which = " and ".join(f"{k} {v}" for k, v in filters.items()) or "any setting"
        raise ValueError(f"no trained run of {which} is in these results")
    return sorted(groups.values(), key=_place)


def _place(panel: Panel) -> tuple:
    return *order(panel.setting["model"], panel.setting["dataset"]), panel.name


def order(model: str, dataset: str) -> tuple[int, int]:
    """The places of a network and a data set in NAMES: the order of panels. Others come last."""
    places = {name: place for place, name in enumerate(NAMES)}
    return places.get(model, len(places)), places.get(dataset, len(places))


def is_variant(result: Mapping) -> bool:
    """True where one of VARIED is not usual: how a pruner is used, not which, nor its steps."""
    return any(getattr(result["series"], name) is not None for name in VARIED)


def only(number: str, found: list[Panel]) -> Panel:
    """Return the panel of a figure that has one.

    Raises:
        ValueError: If there are several; names them.
    """
    if len(found) > 1:
        names = "; ".join(panel.name for panel in found)
        raise ValueError(
            f"figure {number} shows one of these, choose by --model, --dataset and --width, or "
            f"keep their runs in folders of their own: {names}"
        )
    return found[0]


def row(result: Mapping) -> dict:
    """The row of a run in the CSV of a figure."""
    config = result["config"]
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "width": config["width"],
        "epochs": config["epochs"],
        "series": result["series"],
        "directory": result["directory"].name,
        "compression": config["compression"],
        "seed": config["seed"],
        "final_top1": result["final"]["top1"],
        "best_top1": result["best"]["top1"],
        "connected": result["connected"],
        "empty_tensors": len(result["empty_tensors"]),
        "prunable": result["prunable"],
        "tensors": len(result["density"]),
        "kept": result["kept"],
        "effective": result.get("effective"),  # results of older versions lack it
    }


def table(rows: Sequence[dict]) -> list[dict]:
    """The rows as a figure's CSV has them: the label in place of the series.

    `kept` and `effective` are columns if a run has both.
    """
    absent = () if any(row["effective"] is not None for row in rows) else ("kept", "effective")
    shown = [{k: v for k, v in row.items() if k not in absent} for row in rows]
    return [{**row, "series": row["series"].label} for row in shown]


def curves(rows: Iterable[dict]) -> dict[Series, list[dict]]:
    """Group rows by series, by rising compression; dense runs are the first point of each.

    The series that have a look of their own come first, in the order of LOOKS.
    """
    rows = sorted(rows, key=lambda row: (row["compression"], row["seed"]))
    dense = [row for row in rows if row["series"] == DENSE]
    found = dict.fromkeys(row["series"] for row in rows if row["series"] != DENSE)
    if not found:
        return {DENSE: dense}
    place = {label: i for i, label in enumerate(LOOKS)}
    ordered = sorted(found, key=lambda series: (place.get(series.label, len(place)), series.label))
    return {series: dense + [row for row in rows if row["series"] == series] for series in ordered}


def points(rows: Iterable[dict], column: str) -> Iterator[tuple[float, list[float]]]:
    """Yield (compression, the column's values over the seeds) by rising compression."""
    groups: dict[float, list[float]] = {}
    for row in rows:
        groups.setdefault(row["compression"], []).append(row[column])
    yield from sorted(groups.items())


def critical(rows: Iterable[dict]) -> dict[int, float]:
    """Seed -> largest compression tried up to which the network stays connected."""
    found: dict[int, float] = {}
    collapsed: set[int] = set()
    for row in sorted(rows, key=lambda row: row["compression"]):
        if not row["connected"]:
            collapsed.add(row["seed"])
        elif row["seed"] not in collapsed:
            found[row["seed"]] = row["compression"]
    return found


def chance(panel: Panel) -> float:
    """Top-1 accuracy of guessing, in percent; NaN for a user's own data, which is not opened."""
    name = panel.setting["dataset"]
    return 100 / DATASETS[name].classes if name in DATASETS else float("nan")
