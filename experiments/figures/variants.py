"""`figure variants`: each pruner as usual, and with one of `collect.VARIED` changed."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from experiments.figures import collect, style
from experiments.figures.accuracy import WHICH, axis_label
from experiments.series import Series

CAPTION = (
    "{names}. Top-1 test accuracy, {which}: mean (line) and range (band) over seeds (up to "
    "{seeds}), of each pruner as usual and with one thing changed. shuffle: the mask of each layer "
    "permuted; reinit: the kept weights drawn anew; invert: the highest scores pruned first; "
    "float32: scores of that precision{more}. Grey dots: guessing."
)
LOCAL = "; local: the same share of each layer kept"
BATCH = "; bn batch: scores with the statistics of the batch"
ALLOCATED = "; {}: the number of weights in each layer is that of the allocation"
OPTIONS = "--ablate, --allocation, --scope local, --bn batch, --score-dtype float32"
AS_USUAL = "as usual"


class Small(NamedTuple):
    """The content of a panel: one network, one pruner."""

    pruner: str  # as figures write it
    panel: collect.Panel
    curves: dict[str, list[dict]]  # variant -> rows

    @property
    def name(self) -> str:
        """The pruner and, in a second line, the network and the data set."""
        return f"{self.pruner}\n{self.panel.name}"


def draw(results: Path, filters: Mapping[str, object], best: bool = False) -> style.Drawing:
    """Draw one panel for each network and pruner of which there are variants.

    Arguments are those of `accuracy.draw_one`.

    Raises:
        FileNotFoundError: If there are no runs.
        ValueError: If none of them is a variant.
    """
    shown = collected(results, filters)
    rows = [row for small in shown for rows in small.curves.values() for row in rows]
    networks = dict.fromkeys(small.panel.name for small in shown)
    seeds = len({row["seed"] for row in rows})
    caption = CAPTION.format(
        names="; ".join(networks), which=WHICH[best][1], seeds=seeds, more=_explained(rows)
    )
    figure, axes = style.grid(len(shown), caption)
    names = sorted({variant for small in shown for variant in small.curves} - {AS_USUAL})
    for axis, small in zip(axes, shown, strict=True):
        _panel(axis, small, names, best)
        style.title(axis, small.pruner if len(networks) == 1 else small.name)
    style.label_all(axes, "compression", axis_label(best))
    style.share_x(axes)
    style.legend_above(figure, axes)
    return style.Drawing(figure, collect.table(rows), list(_notes(shown, best)))


def _explained(rows: list[dict]) -> str:
    """The words of the caption for scopes, statistics and allocations among the curves."""
    found = {row["series"] for row in rows}
    allocations = sorted({series.allocation for series in found} - {None})
    local = LOCAL if any(series.scope for series in found) else ""
    batch = BATCH if any(series.bn for series in found) else ""
    return local + batch + (ALLOCATED.format(", ".join(allocations)) if allocations else "")


def collected(results: Path, filters: Mapping[str, object]) -> list[Small]:
    """Collect the panels for `draw`. Raises the same errors."""
    found = collect.panels(filter(_belongs, collect.runs(results)), filters)
    shown = [small for panel in found for small in _by_pruner(panel)]
    if not shown:
        raise ValueError(f"no run in {results} has one of these: {OPTIONS}")
    return shown


def _belongs(result: dict) -> bool:
    """True for a variant, and for a pruner as usual, which variants are compared with."""
    return collect.is_variant(result) or result["series"] == Series(result["config"]["pruner"])


def _by_pruner(panel: collect.Panel) -> Iterator[Small]:
    """Split a panel by pruner, in the order of LOOKS; pruners without variants are left out."""
    for pruner in dict.fromkeys([*style.LOOKS, *(row["series"].pruner for row in panel.rows)]):
        mine = [row for row in panel.rows if row["series"].pruner == pruner]
        mine.sort(key=lambda row: row["series"].label)
        curves = {
            variant or AS_USUAL: list(rows)
            for variant, rows in groupby(mine, key=lambda row: row["series"].variant)
        }
        if set(curves) - {AS_USUAL}:
            known = style.LOOKS.get(pruner)  # none of a score of the user's own
            yield Small(known.label if known else pruner, panel, curves)


def _panel(axis, small: Small, names: list[str], best: bool) -> None:
    style.log(axis, "x")
    axis.axhline(collect.chance(small.panel), color="#aaaaaa", ls=":", lw=1)
    for variant, rows in small.curves.items():
        points = collect.points(rows, WHICH[best][0])
        if variant == AS_USUAL:  # broad and pale, so that a variant on top of it is seen
            style.curve(axis, points, style.Look(AS_USUAL, "#b5b5b5", "o", "-"), lw=4, ms=6)
        else:
            style.curve(axis, points, style.other(variant, names.index(variant)), zorder=4)
    axis.set_ylim(bottom=0)


def _notes(shown: list[Small], best: bool) -> Iterator[str]:
    for small in shown:
        for variant, compression, values in gaps(small.curves, WHICH[best][0]):
            name = f"{small.panel.name}, {small.pruner} {variant} at {compression:g}"
            extent = f"{min(values):+.2f} to {max(values):+.2f}, seeds: {len(values)}"
            yield f"{name}: {fmean(values):+.2f} points ({extent})"


def gaps(curves: Mapping[str, list[dict]], column: str) -> Iterator[tuple[str, float, list[float]]]:
    """Yield (variant, compression, differences to its pruner as usual at equal seeds)."""
    usual = {_point(row): row[column] for row in curves.get(AS_USUAL, ())}
    for variant, rows in curves.items():
        pairs = [r | {column: r[column] - usual[_point(r)]} for r in rows if _point(r) in usual]
        for compression, values in collect.points(pairs, column):
            if variant != AS_USUAL:
                yield variant, compression, values


def _point(row: Mapping) -> tuple:
    return row["compression"], row["seed"]
