"""Figure 5: how iterative magnitude pruning avoids layer-collapse (Sec. 5)."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from experiments.figures import collect, style
from experiments.figures.accuracy import WHICH
from experiments.figures.published import published_rows
from experiments.figures.statistics import log_log_fit
from experiments.runs import files
from experiments.runs.owners import SUMS
from experiments.series import DENSE

BLUES = ("#08306b", "#1f5fa6", "#4a97c9", "#7fb6d6", "#bcd6e8")  # one cycle is the darkest
CAPTION_A = (
    "(a) {name}: top-1 accuracy after so many cycles of training and pruning and a final training "
    "({which}); mean and range over seeds. {rewound}"
)
CAPTION_B = (
    "(b) {name}: mean squared weight of each layer against the inverse of its size, at "
    "initialisation (blue) to the end of training (pink). (c) The slope of (b), 1 where the "
    "layers' totals are equal (Eq. 4). "
)


def draw(results: Path, filters: Mapping[str, object], best: bool = False) -> style.Drawing:
    """Draw the accuracies of `imp` runs, and the weights of dense runs that recorded them.

    Without runs of one kind its panels are left out. Arguments are those of `accuracy.draw_one`.

    Raises:
        FileNotFoundError: If there are no runs.
        ValueError: If there are neither of these, or several settings.
    """
    found = collect.runs(results)
    cycles = [r for r in found if r["series"] == DENSE or r["series"].cycles]
    any_imp = any(r["series"].cycles for r in cycles)
    recorded = [r for r in found if (r["directory"] / files.WEIGHTS).exists()]
    if not any_imp and not recorded:
        raise ValueError(
            f"figure 5 needs runs of `imp`, or of `run --record-weights`, and {results} has none"
        )
    imp = _imp_panel(cycles, filters) if any_imp else None
    weights = list(_weights(recorded, filters))
    count = bool(imp) + 2 * bool(weights)
    figure, axes = style.grid(count, _caption(imp, weights, best), 2.7)
    notes = list(_draw_cycles(axes[0], imp, best)) if imp else []
    if weights:
        notes += _draw_weights(axes[-2:], weights)
    return style.Drawing(figure, _table(imp, weights), notes)


def _imp_panel(found: list[dict], filters: Mapping[str, object]) -> collect.Panel:
    """The panel with runs of `imp`; panels of dense runs only are left out."""
    panels = collect.panels(found, filters)
    with_imp = [p for p in panels if any(row["series"].cycles for row in p.rows)]
    return collect.only("5", with_imp or panels)


def _caption(imp: collect.Panel | None, weights: list[dict], best: bool) -> str:
    text = ""
    if imp:
        all_rewound = all(series.rewound for series in collect.curves(imp.rows))
        text += CAPTION_A.format(
            name=imp.name,
            which=WHICH[best][1],
            rewound="" if all_rewound else "Dashed: without rewinding, as the published data. ",
        )
        if _published_cycles(imp):
            text += "Thin with hollow markers: published (one run, not rewound). "
    if weights:
        text += CAPTION_B.format(name=weights[0]["name"])
    return text


def _draw_cycles(axis, panel: collect.Panel, best: bool) -> Iterator[str]:
    style.log(axis, "x")
    axis.axhline(collect.chance(panel), color="#aaaaaa", ls=":", lw=1)
    published = _published_cycles(panel)
    for series, rows in collect.curves(panel.rows).items():
        i, line = min(series.cycles, 5) - 1, "-" if series.rewound else "--"
        look = style.Look(series.variant, BLUES[i], "os^Dv"[i], line)
        style.curve(axis, collect.points(rows, WHICH[best][0]), look)
        reached = ", ".join(f"{value:.3g}" for value in collect.critical(rows).values())
        yield f"{panel.name}, {series.label}: connected up to {reached}"
    for n, curve in published.items():
        axis.plot(*zip(*curve), "-", color=BLUES[n - 1], lw=0.6, marker="os^Dv"[n - 1], ms=3,
                  mfc="none", mew=0.5, zorder=2)  # fmt: skip
    axis.set_ylim(bottom=0)
    style.title(axis, "(a) Cycles of training and pruning")
    style.labels(axis, "compression", f"top-1 accuracy in % ({'best' if best else 'last'} epoch)")
    style.legend(axis)


def _published_cycles(panel: collect.Panel) -> dict[int, list[tuple[float, float]]]:
    """Cycles -> (compression, final top-1), where this network was published."""
    curves: dict[int, list[tuple[float, float]]] = {}
    for row in published_rows("figure5a") if panel.setting["width"] == 1 else ():
        if all(row[key] == panel.setting[key] for key in ("model", "dataset")):
            point = float(row["compression"]), float(row["final_top1"])
            curves.setdefault(int(row["cycles"]), []).append(point)
    return {n: sorted(curve) for n, curve in curves.items()}


def _table_of(result: dict, name: str) -> list[dict]:
    """The rows of a table of a finished run."""
    return files.read_rows(result["directory"] / name, files.TABLES[name], result.get(SUMS))


def _weights(recorded: list[dict], filters: Mapping[str, object]) -> Iterator[dict]:
    """Yield for each dense run that recorded its weights: sizes, and mean squares by epoch."""
    dense = [r for r in recorded if r["config"]["compression"] == 1]
    if not dense:
        return
    panel = collect.only("5", collect.panels(dense, filters))
    directories = {row["directory"] for row in panel.rows}
    for result in (r for r in dense if r["directory"].name in directories):
        try:
            layers, weights = (_table_of(result, name) for name in (files.LAYERS, files.WEIGHTS))
        except (ValueError, OSError) as error:
            files.passed_over(error)
            continue
        epochs: dict[int, dict[str, float]] = {}
        for row in weights:
            epochs.setdefault(row["epoch"], {})[row["name"]] = row["mean_square"]
        yield {
            "name": panel.name,
            "setting": panel.setting,
            "seed": result["config"]["seed"],
            "sizes": {layer["name"]: layer["size"] for layer in layers},
            "epochs": epochs,
        }


def _slope(run: dict, epoch: int) -> float:
    """The slope of log mean square over log inverse size."""
    inverse = [1 / n for n in run["sizes"].values()]
    return log_log_fit(inverse, [run["epochs"][epoch][name] for name in run["sizes"]]).slope


def _draw_weights(axes: list, runs: list[dict]) -> list[str]:
    """Draw (b) of the first seed and (c) of all; returns a note for each."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("training", ["#1f5fa6", "#8f6bb3", "#e75480"])
    first, epochs = runs[0], sorted(runs[0]["epochs"])
    inverse = [1 / n for n in first["sizes"].values()]
    shown = [epochs[round(i * (len(epochs) - 1) / 4)] for i in range(5)]
    for epoch in dict.fromkeys(shown):
        y = [first["epochs"][epoch][name] for name in first["sizes"]]
        axes[0].plot(inverse, y, "osD^v"[shown.index(epoch)], ms=4, mew=0, alpha=0.85,
                     color=shades(epoch / max(epochs)), label=f"epoch {epoch}")  # fmt: skip
    style.log(axes[0])
    style.title(axes[0], "(b) Squared weights of the layers")
    style.labels(axes[0], "1 / size of the layer", "mean squared weight")
    style.legend(axes[0])
    for run in runs:
        axes[1].plot(epochs, [_slope(run, epoch) for epoch in epochs], color="#8f6bb3", lw=1.5,
                     marker="o", ms=2.5, label="ours" if run is first else None)  # fmt: skip
    if published := _published_slopes(first["setting"]):
        axes[1].plot(*zip(*published), "o", mfc="none", mec=style.INK, label="published")
        style.legend(axes[1])
    axes[1].axhline(1, color=style.INK, ls=":", lw=1)
    axes[1].set_ylim(0, 1.1)
    style.title(axes[1], "(c) Slope over training")
    style.labels(axes[1], "epoch", "log-log slope of (b)")
    return [
        f"{run['name']}, seed {run['seed']}: log-log slope {_slope(run, epochs[0]):.3f} at "
        f"initialisation, {_slope(run, epochs[-1]):.3f} after {epochs[-1]} epochs"
        for run in runs
    ]


def _published_slopes(setting: Mapping) -> list[tuple[int, float]]:
    """(epoch, slope), where this network was published."""
    groups: dict[int, list[tuple[float, float]]] = {}
    for row in published_rows("figure5b") if setting["width"] == 1 else ():
        if all(row[key] == setting[key] for key in ("model", "dataset")):
            point = 1 / int(row["size"]), float(row["mean_square"])
            groups.setdefault(int(row["epoch"]), []).append(point)
    return [(epoch, log_log_fit(*zip(*pairs)).slope) for epoch, pairs in sorted(groups.items())]


def _table(imp: collect.Panel | None, weights: list[dict]) -> list[dict]:
    """The rows of all panels; a cell that does not apply to a panel is empty."""
    rows = [{"panel": "a", **row} for row in collect.table(imp.rows)] if imp else []
    rows += [
        {"panel": "b", "seed": run["seed"], "epoch": epoch, "name": name,
         "inverse_size": 1 / run["sizes"][name], "mean_square": square}
        for run in weights
        for epoch, squares in run["epochs"].items()
        for name, square in squares.items()
    ]  # fmt: skip
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]
