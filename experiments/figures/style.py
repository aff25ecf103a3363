"""The style of all figures: one colour, marker and line for each pruner, and plain axes.

SynFlow is red, as in the paper. Colour-blind readers can distinguish the other colours. In grey
print, any two curves differ in lightness, or in marker and line.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from experiments.figures.canvas import SYNFLOW, canvas, save
from experiments.figures.dark import darken
from experiments.runs.files import write_rows
from experiments.series import Series

INK = "#333333"


class Look(NamedTuple):
    """The appearance of a pruner's curves and points."""

    label: str
    color: str
    marker: object  # as matplotlib names it
    line: object


LOOKS = {
    "random": Look("Random", "#8c8c8c", "o", (0, (1, 1.2))),
    "magnitude": Look("Magnitude", "#e69f00", "s", (0, (5, 1.5))),
    "snip": Look("SNIP", "#56b4e9", "^", (0, (4, 1.2, 1, 1.2))),
    "grasp": Look("GraSP", "#0b4f9e", "v", (0, (7, 1.2, 1, 1.2, 1, 1.2))),
    "grasp-text": Look("GraSP (text)", "#999933", "X", (0, (2, 1.2, 6, 1.2))),
    "synflow": Look("SynFlow", SYNFLOW, "D", "-"),
    "synflow-l2": Look("SynFlow-L2", "#cc6677", "d", (0, (8, 1.5))),
    "synflow certified": Look("SynFlow certified", "#7b1113", "P", (0, (3, 1))),
    "skeletonization": Look("Skeletonization", "#cc79a7", "<", (0, (2, 1))),
    "taylor-fo": Look("Taylor-FO", "#5a4a1f", ">", (0, (6, 2, 2, 2))),
}
OTHERS = ("#1b9e77", "#4f2382", "#b15928", "#111111", "#d4a72c", "#005f73")  # for ablations
MARKERS = ("*", (4, 1, 0), (3, 1, 0), "p", (3, 1, 180), "h")
LINES = ((1, 1), (6, 1), (3, 1, 1, 1), (2, 2), (9, 1, 1, 1, 1, 1), (4, 3))
WIDEST = 8.2  # inches: at 800 pixels the smallest text is 9 pixels high
POWER = re.compile(r"\b(\d+)\^(?:\((.*?)\)|(-?\d+(?:\.\d+)?))")
SCIENTIFIC = re.compile(r"\b(\d+(?:\.\d+)?)e\+?(-?)0*(\d+)\b")


def look(series: Series, place: int = 0) -> Look:
    """Get the look of a series: its own in LOOKS, or else the `place`-th of OTHERS."""
    if series.label in LOOKS:
        return LOOKS[series.label]
    if series.pruner not in LOOKS:
        return other(series.label, place)
    return other(series.named(LOOKS[series.pruner].label), place)


def other(label: str, place: int) -> Look:
    """Get the look of the `place`-th curve that has no entry in LOOKS; the first twelve differ."""
    i, j = place % len(OTHERS), (place + place // len(OTHERS)) % len(OTHERS)
    return Look(label, OTHERS[i], MARKERS[j], (0, LINES[j]))


class Drawing(NamedTuple):
    """A figure, the rows of its CSV file, and notes that compare it with the published numbers."""

    figure: object
    rows: list[dict]
    notes: list[str]


def write(
    drawing: Drawing,
    folder: Path,
    name: str,
    formats: Sequence[str] = ("png",),
    dark: bool = False,
) -> Path:
    """Write NAME.FORMAT for each of FORMATS, and NAME.csv if the drawing has rows.

    A dark picture is NAME-dark.FORMAT.

    Returns:
        The path of the first picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if drawing.rows:
        write_rows(folder / f"{name}.csv", drawing.rows[0], drawing.rows)
    if dark:
        darken(drawing.figure)
    stem = f"{name}-dark" if dark else name
    paths = [folder / f"{stem}.{suffix}" for suffix in formats]
    for path in paths:
        save(drawing.figure, path)
    return paths[0]


def powers(text: str) -> str:
    """Write the powers in a text as matplotlib draws them: 10^4 and 1e+04 with a superscript."""
    text = POWER.sub(lambda found: f"${found[1]}^{{{found[2] or found[3]}}}$", text)
    return SCIENTIFIC.sub(_scientific, text)


def _scientific(found: re.Match) -> str:
    number, sign, exponent = found.groups()
    factor = "" if number == "1" else f"{number}\\times"
    return f"${factor}10^{{{sign}{exponent}}}$"


def panels(rows: int, columns: int, size: tuple[float, float], caption: str, **options):
    """Make a figure of rows x columns axes of `size` inches, with a caption below them.

    Returns:
        The figure, and its axes in reading order.
    """
    width, height = columns * size[0] + 0.5, rows * size[1]
    lines = [powers(line) for line in textwrap.wrap(caption, int(width * 17))]
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


def grid(count: int, caption: str, height: float = 2.5, columns: int = 3, **options):
    """Make a figure of `count` axes in rows of up to `columns`, no wider than WIDEST."""
    rows = -(-count // columns)
    columns = -(-count // rows)  # rows of equal length, as far as possible
    size = min(3.4, (WIDEST - 0.5) / columns), height
    figure, axes = panels(rows, columns, size, caption, **options)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def tidy(axes) -> None:
    """Draw a thin grey frame, a light grid and small ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#888888")
    axes.grid(True, color="#ececec", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7.5, color="#888888", labelcolor=INK, length=3)
    axes.tick_params(which="minor", length=0)


def log(axes, which: str = "xy") -> None:
    """Make axes logarithmic, with labels at decades; at 2 and 5 too on an axis of one decade."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator

    for name in which:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(1, 1)))
        axis.set_tick_params(which="minor", labelsize=7, labelcolor=INK)


def curve(axes, points: Iterable[tuple[float, list[float]]], look: Look, **options) -> None:
    """Draw the mean over seeds as a line, and their range as a band."""
    x, values = zip(*points, strict=True)
    axes.fill_between(x, [min(v) for v in values], [max(v) for v in values],
                      color=look.color, alpha=0.18, lw=0)  # fmt: skip
    size = 5.5 if look.marker in MARKERS else 3.8
    usual = {"ls": look.line, "lw": 1.6, "marker": look.marker, "ms": size, "mew": 0, "zorder": 3}
    means = [fmean(v) for v in values]
    axes.plot(x, means, color=look.color, label=look.label, **usual | options)


def title(axes, text: str, color: str = INK) -> None:
    """Set the title of a panel; all panels have the size at which each title fits."""
    room = axes.get_position().width * axes.figure.get_size_inches()[0] * 72  # points
    size = max(7, min(9.5, room / (0.62 * max(map(len, text.splitlines())))))
    axes.set_title(powers(text), fontsize=size, color=color, fontweight="bold", pad=5)
    titles = [panel.title for panel in axes.figure.axes if panel.get_title()]
    for each in titles:
        each.set_fontsize(min(title.get_fontsize() for title in titles))


def labels(axes, x: str | None = None, y: str | None = None) -> None:
    """Label the axes for which a text is given."""
    if x:
        axes.set_xlabel(powers(x), fontsize=8.5, color=INK)
    if y:
        axes.set_ylabel(powers(y), fontsize=8.5, color=INK)


def label_all(axes: Iterable, x: str | None = None, y: str | None = None) -> None:
    """Label the x axis of each panel, and the y axis of those at the left."""
    for axis in axes:
        labels(axis, x, y if axis.get_subplotspec().is_first_col() else None)


def share_x(axes: Sequence) -> None:
    """Give panels one range of x, that of all of them."""
    limits = [end for axis in axes for end in axis.get_xlim()]
    for axis in axes:
        axis.set_xlim(min(limits), max(limits))


def legend(axes, **options) -> None:
    """Draw a legend inside a panel."""
    axes.legend(fontsize=7.5, frameon=False, handlelength=3.4, labelcolor=INK, **options)


def legend_above(figure, axes: Sequence) -> None:
    """Draw one legend for the curves of all panels, above them."""
    found = {}
    for axis in axes:
        found |= {name: line for line, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    width, height = figure.get_size_inches()
    rows = -(-len(found) // max(1, int(width / (0.6 + 0.067 * max(map(len, found))))))
    lines = max(axis.get_title().count("\n") for axis in axes)  # of titles, beside the first
    above = 0.4 + 0.2 * rows + 0.15 * lines
    figure.subplots_adjust(top=1 - above / height, hspace=0.42 + 0.1 * lines)
    figure.legend(
        found.values(), found.keys(), loc="upper center", ncols=-(-len(found) // rows), fontsize=8,
        frameon=False, handlelength=3.4, labelcolor=INK, bbox_to_anchor=(0.5, 1 - 0.02 / height),
    )  # fmt: skip


def corner(axes, text: str, place: str = "upper left", **more) -> None:
    """Write a short text into a corner of a panel."""
    x, y = 0.04 if "left" in place else 0.97, 0.96 if "upper" in place else 0.04
    axes.text(
        x, y, powers(text), transform=axes.transAxes, fontsize=7.2, color=INK, zorder=9,
        ha="left" if "left" in place else "right", va="top" if "upper" in place else "bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}, **more,
    )  # fmt: skip


def fading(n: int) -> list[float]:
    """List n opacities from solid to faint, for rising compressions."""
    return [1 - 0.8 * i / max(1, n - 1) for i in range(n)]
