"""Statistics of the numbers behind the figures."""

from collections.abc import Sequence
from math import cos, pi, sin, sqrt, tan
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np


class LogLogFit(NamedTuple):
    """A straight line through log y over log x."""

    slope: float
    correlation: float  # Pearson's, of the logarithms


def log_log_fit(x: Sequence[float], y: Sequence[float]) -> LogLogFit:
    """Fit log y over log x by least squares, using the points where x and y are positive."""
    points = np.log([(a, b) for a, b in zip(x, y, strict=True) if a > 0 and b > 0])
    slope = np.polyfit(points[:, 0], points[:, 1], 1)[0]
    return LogLogFit(float(slope), float(np.corrcoef(points[:, 0], points[:, 1])[0, 1]))


def pearson(pairs: Sequence[Sequence[float]]) -> float:
    """Compute Pearson's correlation of pairs, first scaled so that no square overflows."""
    values = np.array(pairs)  # (n, 2)
    return float(np.corrcoef((values / np.abs(values).max()).T)[0, 1])


def relative_gaps(pairs: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Compute the median and the largest |a - b| / max(|a|, |b|), without pairs (0, 0)."""
    a, b = np.array(pairs).T
    scale = np.maximum(np.abs(a), np.abs(b))
    gaps = np.abs(a - b)[scale > 0] / scale[scale > 0]
    return float(np.median(gaps)), float(gaps.max())


def percent_difference(ours: float, theirs: float) -> str:
    """Format the relative difference of two numbers, as in "+3.1 %"."""
    return f"{100 * (ours / theirs - 1):+.1f} %"


class Summary(NamedTuple):
    """Numbers of several seeds; `low` and `high` are None for a single seed."""

    n: int
    mean: float
    least: float
    largest: float
    low: float | None  # the 95 % interval of the mean, by Student's t
    high: float | None


def summary(values: Sequence[float]) -> Summary:
    """Compute mean, range and the 95 % interval of the mean: mean +- t s / sqrt(n)."""
    n, mean = len(values), fmean(values)
    ends: tuple[float | None, float | None] = (None, None)
    if n > 1:
        half = t_quantile(n - 1) * stdev(values) / sqrt(n)
        ends = (mean - half, mean + half)
    return Summary(n, mean, min(values), max(values), *ends)


def t_quantile(freedom: int, level: float = 0.95) -> float:
    """Compute the t that |T| stays below with probability `level` (Student's t distribution)."""
    low, high = 0.0, pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return sqrt(freedom) * tan(low)


def _within(angle: float, freedom: int) -> float:
    """P(|T| < t) for tan(angle) = t / sqrt(freedom): a finite sum for whole degrees of freedom.

    1 + c^2 / 2 + (1 3 / 2 4) c^4 + ... with c = cos(angle), times sin(angle), for even ones; for
    odd ones (2 / pi) (angle + sin(angle) (c + (2 / 3) c^3 + (2 4 / 3 5) c^5 + ...)).
    """
    odd, square = freedom % 2, cos(angle) ** 2
    term, total = (cos(angle) if odd else 1.0), 0.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= square * (k + 1) / (k + 2)
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
