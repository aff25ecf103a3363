"""How all figures look: one colour, marker and line for each pruner, and tidy axes.

SynFlow is red as in the paper. The other colours are told apart by the colour-blind, and all of
them, printed in grey, by marker and line.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from experiments.figures.canvas import SYNFLOW, canvas, save
from experiments.runs.files import write_rows

INK, PALE = "#333333", "#d9d9d9"
PUBLISHED = Path(__file__).resolve().parent / "published"


class Look(NamedTuple):
    """What tells a pruner from the others."""

    label: str
    color: str
    marker: str
    line: object


LOOKS = {
    "random": Look("Random", "#8c8c8c", "o", (0, (1, 1.2))),
    "magnitude": Look("Magnitude", "#e69f00", "s", (0, (5, 1.5))),
    "snip": Look("SNIP", "#56b4e9", "^", (0, (4, 1.2, 1, 1.2))),
    "grasp": Look("GraSP", "#0b4f9e", "v", (0, (7, 1.2, 1, 1.2, 1, 1.2))),
    "synflow": Look("SynFlow", SYNFLOW, "D", "-"),
    "synflow certified": Look("SynFlow certified", "#7b1113", "P", (0, (3, 1))),
    "skeletonization": Look("Skeletonization", "#cc79a7", "<", (0, (2, 1))),
    "taylor-fo": Look("Taylor-FO", "#5a4a1f", ">", (0, (6, 2, 2, 2))),
}
OTHERS = ("#1b9e77", "#6a3d9a", "#a6761d", "#111111", "#b15928", "#00798c")  # for ablations
MARKERS = "X*hpd8"


def look(series: str, place: int = 0) -> Look:
    """The look of a pruner, or of the `place`-th series that is not one of the usual."""
    if series in LOOKS:
        return LOOKS[series]
    usual = max((name for name in LOOKS if series.startswith(name)), key=len, default=None)
    label = LOOKS[usual].label + series.removeprefix(usual) if usual else series
    i = place % len(OTHERS)
    return Look(label, OTHERS[i], MARKERS[i], (0, (1 + i, 1)))


class Drawing(NamedTuple):
    """A figure, the rows behind it, and what is to be said of it in words."""

    figure: object
    rows: list[dict]
    notes: list[str]


def write(drawing: Drawing, folder: Path, name: str) -> Path:
    """Write NAME.png and, beside it, NAME.csv; returns the picture's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{name}.csv", drawing.rows[0], drawing.rows)
    save(drawing.figure, folder / f"{name}.png")
    return folder / f"{name}.png"


def published(name: str) -> list[dict[str, str]]:
    """The rows of one file of experiments/figures/published."""
    with open(PUBLISHED / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def panels(rows: int, columns: int, size: tuple[float, float], caption: str, **options):
    """A figure with rows x columns axes of `size` inches, and its caption below.

    Returns:
        The figure, and its axes in reading order.
    """
    width, height = columns * size[0] + 0.5, rows * size[1]
    lines = _wrapped(caption, width)
    below = 0.5 + 0.17 * len(lines)
    figure = canvas(width, height + below)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    figure.subplots_adjust(
        left=0.62 / width,
        right=1 - 0.12 / width,
        top=1 - 0.34 / (height + below),
        bottom=(below + 0.12) / (height + below),
        wspace=0.25,
        hspace=0.42,
    )
    figure.text(
        0.12 / width, 0.08 / (height + below), "\n".join(lines), fontsize=7.5, color=INK,
        va="bottom", linespacing=1.35,
    )  # fmt: skip
    for axis in axes.flat:
        tidy(axis)
    return figure, list(axes.flat)


def grid(count: int, columns: int, caption: str):
    """As `panels`: so many axes, in rows of up to `columns`, of the size of an accuracy curve."""
    figure, axes = panels(-(-count // columns), columns, (3.1, 2.5), caption)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def _wrapped(text: str, width: float) -> list[str]:
    import textwrap

    return textwrap.wrap(text, int(width * 17))


def tidy(axes) -> None:
    """Thin grey frame, light grid behind, small outward ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")
    axes.grid(True, color="#ececec", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7.5, color="#888888", labelcolor=INK, length=3)
    axes.tick_params(which="minor", length=0)


def log(axes, which: str = "xy") -> None:
    """Logarithmic axes, labelled at whole decades; at 2 and 5 too if they span less than one."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator

    for name in which:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(1, 1)))
        axis.set_tick_params(which="minor", labelsize=6.5, labelcolor=INK)


def curve(axes, points: Iterable[tuple[float, list[float]]], look: Look, **options) -> None:
    """The mean over seeds as a line, and their range as a band."""
    x, values = zip(*points)
    axes.fill_between(x, [min(v) for v in values], [max(v) for v in values],
                      color=look.color, alpha=0.18, lw=0)  # fmt: skip
    usual = {"ls": look.line, "lw": 1.6, "marker": look.marker, "ms": 3.8, "mew": 0, "zorder": 3}
    means = [fmean(v) for v in values]
    axes.plot(x, means, color=look.color, label=look.label, **usual | options)


def title(axes, text: str, color: str = INK) -> None:
    """A panel's title."""
    axes.set_title(text, fontsize=9.5, color=color, fontweight="bold", pad=5)


def labels(axes, x: str | None = None, y: str | None = None) -> None:
    """Names of the axes, where given."""
    if x:
        axes.set_xlabel(x, fontsize=8.5, color=INK)
    if y:
        axes.set_ylabel(y, fontsize=8.5, color=INK)


def legend(axes, **options) -> None:
    """The names of the curves, inside a panel."""
    axes.legend(fontsize=7.5, frameon=False, handlelength=3.4, labelcolor=INK, **options)


def legend_above(figure, axes: Sequence) -> None:
    """The names of the curves of all panels, in one line above them."""
    found = {}
    for axis in axes:
        handles, names = axis.get_legend_handles_labels()
        found |= dict(zip(names, handles))
    width, height = figure.get_size_inches()
    columns = max(1, int(width / 1.3))
    rows = -(-len(found) // columns)
    figure.subplots_adjust(top=1 - (0.4 + 0.2 * rows) / height)
    figure.legend(
        found.values(), found.keys(), loc="upper center", ncols=columns, fontsize=8,
        frameon=False, handlelength=3.4, labelcolor=INK, bbox_to_anchor=(0.5, 1 - 0.02 / height),
    )  # fmt: skip


def corner(axes, text: str, place: str = "upper left", **more) -> None:
    """A few words in a corner of a panel."""
    x = 0.04 if "left" in place else 0.97
    y = 0.96 if "upper" in place else 0.04
    axes.text(
        x, y, text, transform=axes.transAxes, fontsize=7.2, color=INK, zorder=9,
        ha="left" if "left" in place else "right", va="top" if "upper" in place else "bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}, **more,
    )  # fmt: skip


def fading(n: int) -> list[float]:
    """Opacities of n curves, from solid to faint, as the paper shows rising compression."""
    return [1 - 0.8 * i / max(1, n - 1) for i in range(n)]


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Least-squares slope of log y over log x, and their correlation; only where both are > 0."""
    import numpy as np

    pairs = np.log([(a, b) for a, b in zip(x, y) if a > 0 and b > 0])
    return float(np.polyfit(*pairs.T, 1)[0]), float(np.corrcoef(*pairs.T)[0, 1])


def ratio(ours: float, theirs: float) -> str:
    """How far two numbers are apart, as in +3.1 %."""
    return f"{100 * (ours / theirs - 1):+.1f} %"
