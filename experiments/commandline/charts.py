"""Line charts as SVG text: they take the colours of their page, and need no library."""

from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH, HEIGHT = 360, 205
LEFT, RIGHT, TOP, BOTTOM = 46, 350, 10, 160  # of the frame in which curves are drawn
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MOST_TICKS = 7
DOTTED = 40  # points up to which each has a dot
Point = tuple[float, float]


class Scale(NamedTuple):
    """An axis: its range in values and in pixels, and a text for each tick."""

    values: tuple[float, float]
    pixels: tuple[float, float]
    ticks: dict[float, str]
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value in pixels."""
        low, high, at = (log10(number) if self.log else number for number in (*self.values, value))
        begin, end = self.pixels
        return begin + (end - begin) * (at - low) / (high - low)


def counts(first: int, last: int) -> Scale:
    """The horizontal axis of whole numbers."""
    last = max(last, first + 1)
    step = next(step for step in _steps() if (last - first) / step <= MOST_TICKS)
    ticks = {n: f"{n:,}" for n in range(first, last + 1) if n == first or n % step == 0}
    return Scale((first, last), (LEFT + 8, RIGHT - 8), ticks)


def _steps() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, ..."""
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


def percent() -> Scale:
    """The vertical axis from 0 to 100."""
    ticks = {n: str(n) for n in range(0, 101, 20)}
    return Scale((0, 100), (BOTTOM, TOP), ticks)


def decades(values: Iterable[float]) -> Scale:
    """The vertical axis of powers of ten that holds these positive values."""
    values = list(values) or [1.0]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    high = max(high, low + 1)
    stride = ceil((high - low + 1) / MOST_TICKS)
    powers = range(high, low - 1, -stride)
    ticks = {10.0**n: "1" if n == 0 else f"10{str(n).translate(RAISED)}" for n in powers}
    return Scale((10.0**low, 10.0**high), (BOTTOM, TOP), ticks, log=True)


def curve(kind: str, points: Iterable[Point], x: Scale, y: Scale) -> str:
    """A line through points; `kind` is a class of the page. A logarithmic axis has no 0: a gap."""
    drawn = groupby(points, lambda point: point[1] > 0 or not y.log)
    parts = [list(part) for there, part in drawn if there]
    runs = [[(f"{x(a):.1f}", f"{y(b):.1f}") for a, b in part] for part in parts]
    lines = [f'<polyline points="{" ".join(map(",".join, run))}"/>' for run in runs]
    places = [place for run in runs for place in run]
    dots = [f'<circle cx="{a}" cy="{b}" r="3"/>' for a, b in places if len(places) <= DOTTED]
    return f'<g class="{kind}">{"".join(lines + dots)}</g>'


def crosses(kind: str, at: Iterable[float], x: Scale) -> str:
    """Crosses on the horizontal axis."""
    marks = [f"M{x(a) - 3.5:.1f} {BOTTOM - 3.5}l7 7m0 -7l-7 7" for a in at]
    return f'<path class="{kind}" d="{"".join(marks)}"/>' if marks else ""


def level(value: float, y: Scale) -> str:
    """A dotted line at a height, if that lies in the chart."""
    if not y.values[0] <= value <= y.values[1]:
        return ""
    return f'<line class="level" x1="{LEFT}" x2="{RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'


def chart(title: str, x: Scale, y: Scale, labels: tuple[str, str], marks: Iterable[str]) -> str:
    """A chart: the frame, the ticks and labels of both axes, and these marks.

    Args:
        title: For readers who do not see the picture.
        x: The horizontal axis.
        y: The vertical axis.
        labels: Of the two axes.
        marks: SVG.
    """
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>'
        f"{''.join(_frame(x, y))}{''.join(marks)}"
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}" class="middle">{escape(labels[0])}</text>'
        f'<text transform="translate(11 {(TOP + BOTTOM) / 2}) rotate(-90)" class="middle">'
        f"{escape(labels[1])}</text></svg>"
    )


def _frame(x: Scale, y: Scale) -> Iterator[str]:
    """The axes, with a line across at each tick of the vertical one."""
    for value, text in y.ticks.items():
        at = f"{y(value):.1f}"
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at}" y2="{at}"/>'
        yield f'<text x="{LEFT - 5}" y="{y(value) + 4:.1f}" class="end">{text}</text>'
    for value, text in x.ticks.items():
        yield f'<text x="{x(value):.1f}" y="{BOTTOM + 16}" class="middle">{text}</text>'
    yield f'<path class="frame" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
