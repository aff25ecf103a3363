"""Statistics of the numbers behind the figures."""

from collections.abc import Sequence
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
