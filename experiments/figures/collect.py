"""The runs in a results folder, put together into panels and curves."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from experiments.figures.style import LOOKS
from experiments.runs.files import finished, read_result
from experiments.series import series_name
from train.data import known

POINT = ("compression", "seed")  # where on a curve a run lies
CURVE = ("pruner", "steps", "schedule", "scope", "score_dtype", "ablate", "cycles", "rewind")
ONCE = ("series", "compression", "seed")  # equal runs, one of which recorded weights, count once
ASIDE = ("device", "record_weights", "workers")  # of no weight for the result
NAMES = {
    **{"vgg11": "VGG-11", "vgg16": "VGG-16", "vgg19": "VGG-19", "vgg19-plain": "VGG-19 without BN"},
    **{"resnet18": "ResNet-18", "wrn18": "WideResNet-18", "mlp": "MLP"},
    **{"digits": "digits", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"},
    **{"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"},
    **{"tiny-imagenet": "Tiny ImageNet", "imagenet": "ImageNet"},
}


class Panel(NamedTuple):
    """Runs that differ only in how they prune and in their seed."""

    setting: dict  # the rest of their configuration
    rows: list[dict]  # one per run

    @property
    def name(self) -> str:
        """The network and the data set, and the width where it is not 1."""
        return name(self.setting["model"], self.setting["width"], self.setting["dataset"])


def name(model: str, width: float, dataset: str) -> str:
    """As papers write it."""
    scaled = f" (width {width:g})" if width != 1 else ""
    return f"{NAMES.get(model, model)}{scaled}, {NAMES[dataset]}"


def runs(results: Path) -> list[dict]:
    """The results of all finished runs in the folder, each with its "directory".

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a result file is damaged.
    """
    found = [{**read_result(path), "directory": path.parent} for path in finished(results)]
    if not found:
        raise FileNotFoundError(
            f"no finished run is in {results}; `python cli.py sweep` makes some"
        )
    return found


def panels(found: Iterable[dict], filters: Mapping[str, object]) -> list[Panel]:
    """Sort trained runs into panels; only those whose configuration has the filters' values.

    Raises:
        ValueError: If none is left.
    """
    groups: dict[str, Panel] = {}
    for result in found:
        config = result["config"]
        wanted = all(config.get(key) == value for key, value in filters.items())
        if wanted and result["final"] is not None:
            setting = {k: v for k, v in config.items() if k not in (*POINT, *CURVE, *ASIDE)}
            rows, row = groups.setdefault(str(setting), Panel(setting, [])).rows, _row(result)
            if not any(all(row[key] == other[key] for key in ONCE) for other in rows):
                rows.append(row)
    if not groups:
        which = " and ".join(f"{k} {v}" for k, v in filters.items()) or "any setting"
        raise ValueError(f"no trained run of {which} is in these results")
    return sorted(groups.values(), key=lambda panel: panel.name)


def is_variant(result: Mapping) -> bool:
    """Whether a run's masks or weights were ablated, or its scores are not float64."""
    config = result["config"]
    return bool(config.get("ablate")) or config["score_dtype"] != "float64"


def only(number: str, found: list[Panel]) -> Panel:
    """The one panel of a figure that has one.

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


def _row(result: Mapping) -> dict:
    config = result["config"]
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "width": config["width"],
        "epochs": config["epochs"],
        "series": series_name(config),
        "directory": result["directory"].name,
        "compression": config["compression"],
        "seed": config["seed"],
        "final_top1": result["final"]["top1"],
        "best_top1": result["best"]["top1"],
        "connected": result["connected"],
        "empty_tensors": len(result["empty_tensors"]),
        "prunable": result["prunable"],
        "tensors": len(result["density"]),
    }


def curves(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """Series -> rows by rising compression; dense runs are the first point of each."""
    rows = sorted(rows, key=lambda row: (row["compression"], row["seed"]))
    dense = [row for row in rows if row["series"] == "dense"]
    names = dict.fromkeys(row["series"] for row in rows if row["series"] != "dense")
    if not names:
        return {"dense": dense}
    usual = list(LOOKS)
    names = sorted(names, key=lambda n: (usual.index(n) if n in usual else len(usual), n))
    return {name: dense + [row for row in rows if row["series"] == name] for name in names}


def points(rows: Iterable[dict], column: str) -> Iterator[tuple[float, list[float]]]:
    """(compression, the column's values over the seeds)."""
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
    """Top-1 in percent of guessing."""
    return 100 / known(panel.setting["dataset"]).classes
