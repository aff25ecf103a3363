"""Figures 1 and 6: accuracy after training against compression, from the runs of sweeps."""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import exp, log, log10
from pathlib import Path
from statistics import fmean

from experiments.figures import collect, style
from experiments.figures.published import published_rows
from experiments.series import DENSE, Series

WHICH = {False: ("final_top1", "after the last epoch"), True: ("best_top1", "best over epochs")}
CAPTION = (
    "Top-1 test accuracy, {which}: mean (line) and range (band) over seeds{seeds}. Grey dots: "
    "guessing.{arrows}{published}"
)
ARROWS = (
    " Arrows: critical compression, the largest before layer-collapse (mean over seeds). Dashed: "
    "the largest possible, N / L."
)
THIN = " Thin with hollow markers: published means{best}; their GraSP keeps the other end{wide}."
WIDE = ", their WideResNet-18 is ResNet-18"


def draw_one(results: Path, filters: Mapping[str, object], best: bool = False) -> style.Drawing:
    """Draw Figure 1: one network on one data set, with critical compressions.

    Args:
        results: The folder of the runs.
        filters: Fields of a run's configuration -> the values wanted.
        best: Show the best accuracy over epochs, as the paper does, in place of the final one.

    Raises:
        FileNotFoundError: If there are no runs.
        ValueError: If the filters leave no panel, or several.
    """
    panel = collect.only("1", collect.panels(_usual(collect.runs(results)), filters))
    figure, [axis] = style.panels(1, 1, (6.2, 3.6), _caption([panel], best, "figure1"))
    _panel(axis, panel, best, "figure1")
    _ends(axis, panel)
    style.labels(axis, "compression", axis_label(best))
    style.legend_above(figure, [axis])
    notes = list(_notes([panel], best, "figure1"))
    return style.Drawing(figure, collect.table(panel.rows), notes)


def draw_all(results: Path, filters: Mapping[str, object], best: bool = False) -> style.Drawing:
    """Draw Figure 6: one panel for each network and data set that there are runs of.

    Arguments and errors are those of `draw_one`, but there may be several panels.
    """
    panels = collect.panels(_usual(collect.runs(results)), filters)
    figure, axes = style.grid(len(panels), _caption(panels, best, "figure6"))
    for axis, panel in zip(axes, panels, strict=True):
        _panel(axis, panel, best, "figure6")
    style.label_all(axes, "compression", axis_label(best))
    style.share_x(axes)
    style.legend_above(figure, axes)
    rows = [row for panel in panels for row in panel.rows]
    notes = list(_notes(panels, best, "figure6"))
    return style.Drawing(figure, collect.table(rows), notes)


def _usual(found: list[dict]) -> list[dict]:
    """Leave out the runs that other figures show: Fig. 5 those of `imp`, `variants` its own."""
    return [r for r in found if not r["config"]["cycles"] and not collect.is_variant(r)]


def axis_label(best: bool) -> str:
    """The label of an axis of accuracies, with the epoch that they are of."""
    return f"top-1 accuracy in % ({'best epoch' if best else 'last epoch'})"


def _caption(panels: list[collect.Panel], best: bool, name: str) -> str:
    points = [Counter((r["series"], r["compression"]) for r in panel.rows) for panel in panels]
    seeds = {n for panel in points for n in panel.values()}
    counts = f" ({min(seeds)})" if len(seeds) == 1 else f" ({min(seeds)} to {max(seeds)})"
    overlaid = any(_published(panel, name, best) for panel in panels)
    thin = THIN.format(
        best=" of the best epoch" if best or name == "figure6" else "",
        wide=WIDE if any(p.setting["model"] == "wrn18" for p in panels) else "",
    )
    return CAPTION.format(
        which=WHICH[best][1],
        seeds=counts,
        arrows=ARROWS if name == "figure1" else "",
        published=thin if overlaid else "",
    )


def _panel(axis, panel: collect.Panel, best: bool, name: str) -> None:
    style.log(axis, "x")
    axis.axhline(collect.chance(panel), color="#aaaaaa", ls=":", lw=1)
    others = 0
    for series, rows in collect.curves(panel.rows).items():
        look = style.look(series, others)
        if series.label not in style.LOOKS:
            others += 1
        points = collect.points(rows, WHICH[best][0])
        style.curve(axis, points, look, zorder=4 if series == Series("synflow") else 3)
    for series, curve in _published(panel, name, best).items():
        look = style.look(series)
        axis.plot(*zip(*sorted(curve.items())), color=look.color, ls="-", lw=0.7, alpha=0.8,
                  marker=look.marker, ms=3.6, mfc="none", mew=0.6, zorder=2)  # fmt: skip
    axis.set_ylim(bottom=0)
    style.title(axis, panel.name)


def _published(panel: collect.Panel, name: str, best: bool) -> dict[Series, dict[float, float]]:
    """Series -> compression -> published mean; empty where this network was not published.

    The published data of Fig. 6 have only the best over epochs.
    """
    setting = panel.setting
    network = setting["model"], setting["dataset"], setting["width"]
    column = "final_top1" if name == "figure1" and not best else "best_top1"
    curves: dict[Series, dict[float, float]] = {}
    for row in published_rows(name):
        if (row["model"], row["dataset"], 1) == network:
            curve = curves.setdefault(Series(row["pruner"]), {})
            curve[float(row["compression"])] = float(row[column])
    return curves


def _ends(axis, panel: collect.Panel) -> None:
    """Draw the largest possible compression, and an arrow where each curve collapses."""
    row = max(panel.rows, key=lambda row: row["prunable"])  # --exclude counts fewer
    limit, top = row["prunable"] / row["tensors"], axis.get_ylim()[1]
    axis.axvline(limit, color=style.INK, ls="--", lw=1.1)
    axis.text(limit, top, "max compression ", rotation=90, fontsize=7, ha="right",
              va="top", color=style.INK)  # fmt: skip
    largest = max(row["compression"] for row in panel.rows)
    axis.set_xlim(10**-0.15, max(limit, largest) * 10**0.2)
    axis.set_yticks([tick for tick in axis.get_yticks() if 0 <= tick <= top])
    axis.set_ylim(-0.13 * top, top)
    axis.axhline(0, color="#888888", lw=0.8)
    found = {s: collect.critical(rows) for s, rows in collect.curves(panel.rows).items()}
    found = {series: seeds for series, seeds in found.items() if seeds and series != DENSE}
    for x, series in _apart({s: exp(fmean(map(log, v.values()))) for s, v in found.items()}):
        _arrow(axis, x, style.look(series))


def _apart(places: Mapping[Series, float]) -> Iterator[tuple[float, Series]]:
    """Yield (place, series) from left to right, so far apart that each arrow can be seen."""
    last = 0.0
    for series, x in sorted(places.items(), key=lambda pair: pair[1]):
        last = max(x, last * 10**0.07)
        yield last, series


def _arrow(axis, x: float, look: style.Look) -> None:
    """Draw an arrow in the strip below 0, with the pruner's marker as its tail."""
    strip = -axis.get_ylim()[0]
    axis.annotate("", (x, -strip), (x, -0.25 * strip), zorder=6, annotation_clip=False, arrowprops={
        "arrowstyle": "-|>", "color": look.color, "lw": 1.8, "shrinkA": 0, "shrinkB": 0,
    })  # fmt: skip
    axis.plot(x, -0.25 * strip, look.marker, color=look.color, ms=4.5, mew=0, zorder=7)


def _notes(panels: list[collect.Panel], best: bool, name: str) -> Iterator[str]:
    for panel in panels:
        published = _published(panel, name, best)
        for series, rows in collect.curves(panel.rows).items():
            critical = collect.critical(rows).items()
            reached = ", ".join(f"10^{log10(v):.3g} (seed {seed})" for seed, v in critical)
            text = f"{panel.name}, {series.label}: connected up to {reached or 'no compression'}"
            gaps = [
                fmean(values) - published[series][key]
                for compression, values in collect.points(rows, WHICH[best][0])
                for key in published.get(series, {})
                if abs(log10(key / compression)) < 1e-3
            ]
            if gaps:
                text += f"; from published {fmean(gaps):+.2f} points in the mean"
            yield text + _effective(rows)


def _effective(rows: list[dict]) -> str:
    """The effective among the kept weights at the largest compression, where runs tell them."""
    known = [row for row in rows if row["effective"] is not None]
    if not known:
        return ""
    largest = max(row["compression"] for row in known)
    found = [row for row in known if row["compression"] == largest]
    shares = (f"{row['effective']:,} of {row['kept']:,} (seed {row['seed']})" for row in found)
    return f"; effective at 10^{log10(largest):.3g}: {', '.join(shares)}"
