"""`figure cost`: accuracy against the cost of training, in FLOPs and in measured seconds."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean

from experiments.config import RunConfig, restore
from experiments.figures import collect, style
from experiments.figures.accuracy import WHICH, axis_label
from experiments.figures.canvas import SYNFLOW
from experiments.runs.build import initial_model
from experiments.runs.compacted import to_train, trained_facts
from experiments.runs.files import MASKS, passed_over
from experiments.runs.progress import Silent
from experiments.runs.tensors import read_masks
from experiments.series import DENSE, Series
from prune import apply
from train.foreign import is_code

CAPTION = (
    "Top-1 test accuracy, {which}: mean (line) and range (band) over seeds (up to {seeds}), "
    "against the mean cost of the runs. Left: multiplications and additions of all training "
    "steps, of the network that is trained, "
    "in which channels that nothing reads are left out. Right: measured seconds of pruning and "
    "training together. Black star: the dense network. Numbers: compression of SynFlow. "
    "Grey dots: guessing."
)
AXES = {"training_flops": "FLOPs of training", "seconds": "seconds to prune and train"}
STAR = style.Look("Dense", "#111111", "*", "")


def draw(results: Path, filters: Mapping[str, object], best: bool = False) -> style.Drawing:
    """Draw two panels for each network and data set: FLOPs and seconds.

    Arguments and errors are those of `accuracy.draw_one`, but there may be several networks.

    Raises:
        ValueError: If the cost of no run is known.
    """
    found = [r for r in collect.runs(results) if not collect.is_variant(r) and r["final"]]
    known = [r for r in found if training_flops(r) is not None]
    if not known:
        raise ValueError(f"the cost of no run in {results} is known: their masks are not kept")
    panels = collect.panels(known, filters, _row)
    rows = [row for panel in panels for row in panel.rows]
    caption = CAPTION.format(which=WHICH[best][1], seeds=len({row["seed"] for row in rows}))
    figure, axes = style.panels(len(panels), len(AXES), (3.7, 2.9), caption)
    for number, panel in enumerate(panels):
        for place, (column, label) in enumerate(AXES.items()):
            axis = axes[len(AXES) * number + place]
            _panel(axis, panel, column, WHICH[best][0])
            style.labels(axis, label, None if place else axis_label(best))
    for place in range(len(AXES)):
        style.share_x(axes[place :: len(AXES)])
    style.legend_above(figure, axes)
    left_out = [f"{len(found) - len(known)} runs of unknown cost are left out"]
    notes = [*_notes(panels), *left_out * (len(known) < len(found))]
    return style.Drawing(figure, collect.table(rows), notes)


def training_flops(result: Mapping) -> int | None:
    """The FLOPs of all training steps of a run, those of earlier cycles included.

    Results of older versions do not have them. They are computed where the masks are kept, as if
    the run had been compacted, unless a module of the user makes the network: a result file does
    not decide that a module is run. None where they are unknown.
    """
    config = restore(result["config"])
    trained = [row.get("trained") for row in (*result.get("cycles", ()), result)]
    if not all(trained):
        trained = [_computed(config, result["directory"])]
    if not all(trained):
        return None
    images = config.train_images or config.data.train_size
    steps = config.epochs * -(-images // config.batch_size)
    return steps * sum(facts["step_flops"] for facts in trained)


def _computed(config: RunConfig, directory: Path) -> dict | None:
    """The size of what a run without cycles trains, from its masks; None without them."""
    kept = (directory / MASKS).exists()
    if config.cycles or is_code(config.model) or not (kept or config.compression == 1):
        return None
    model = initial_model(config)
    if kept:
        try:
            apply(model, read_masks(directory / MASKS, model, config)[0])
        except ValueError as error:
            return passed_over(error)
    return trained_facts(config, model, to_train(config, model, Silent())[0])


def _row(result: Mapping) -> dict:
    """A row of the CSV; seconds of results without `trained` are those of masked training."""
    seconds = sum(result["seconds"].values()) if result.get("trained") else None
    cost = {"training_flops": training_flops(result), "seconds": seconds}
    return collect.row(result) | cost


def _panel(axis, panel: collect.Panel, column: str, accuracy: str) -> None:
    rows = [row for row in panel.rows if row[column] is not None]
    axis.axhline(collect.chance(panel), color="#aaaaaa", ls=":", lw=1)
    others = 0
    for series, mine in collect.curves(rows).items():
        if series == DENSE:
            continue
        look = style.look(series, others)
        others += series.label not in style.LOOKS
        points = [(at, values) for _, at, values in _points(mine, column, accuracy)]
        style.curve(axis, points, look, zorder=4 if series == Series("synflow") else 3)
        if series == Series("synflow"):
            _name_compressions(axis, mine, column, accuracy)
    for _, at, values in _points((r for r in rows if r["series"] == DENSE), column, accuracy):
        style.curve(axis, [(at, values)], STAR, ms=10, zorder=6)
    axis.set_ylim(bottom=0)
    if column == "seconds":
        axis.set_xlim(left=0)
    else:
        style.log(axis, "x")
    style.title(axis, panel.name)


def _points(
    rows: Iterable[dict], column: str, accuracy: str
) -> Iterator[tuple[float, float, list[float]]]:
    """Yield (compression, mean cost, accuracies) by rising compression."""
    rows = list(rows)
    costs = dict(collect.points(rows, column))
    for compression, values in collect.points(rows, accuracy):
        yield compression, fmean(costs[compression]), values


def _name_compressions(axis, rows: list[dict], column: str, accuracy: str) -> None:
    """Write the compression below each point of a curve."""
    for compression, at, values in _points(rows, column, accuracy):
        if compression > 1:
            axis.annotate(
                style.powers(f"{compression:.4g}"), (at, fmean(values)), (0, -11),
                textcoords="offset points", fontsize=7, color=SYNFLOW, ha="center", zorder=7,
            )  # fmt: skip


def _notes(panels: Iterable[collect.Panel]) -> Iterator[str]:
    """Compare each point with the dense network of its panel: accuracy, FLOPs, seconds."""
    for panel in panels:
        dense = [row for row in panel.rows if row["series"] == DENSE]
        for series, rows in collect.curves(panel.rows).items():
            mine = [row for row in rows if row["series"] != DENSE]
            for compression, accuracies in collect.points(mine, "final_top1"):
                here = [row for row in mine if row["compression"] == compression]
                shares = [text for name in AXES if (text := _share(here, dense, name))]
                text = f"{panel.name}, {series.label} at {compression:.4g}"
                yield f"{text}: {fmean(accuracies):.2f} %" + "".join(shares)


def _share(rows: list[dict], dense: list[dict], column: str) -> str:
    """The mean cost relative to dense, in words; empty where it is unknown."""
    mine, theirs = ([r[column] for r in some if r[column] is not None] for some in (rows, dense))
    return f", {fmean(mine) / fmean(theirs):.3f} of dense {AXES[column]}" if mine and theirs else ""
