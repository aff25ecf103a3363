"""matplotlib, imported only when something is drawn."""

import io
from pathlib import Path

from PIL import Image

SYNFLOW = "#d62728"  # the paper's red


def canvas(width: float, height: float):
    """An empty matplotlib figure, in inches; no window, no global state.

    Raises:
        ValueError: If matplotlib is not installed; says how to get it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(
            'figures need matplotlib, which the extra "figures" brings: '
            'pip install "synflow[figures]", or pip install -e ".[figures]" in a clone'
        ) from None
    return Figure(figsize=(width, height), layout="none")


def save(figure, path: Path) -> None:
    """Write a figure as PNG of 128 colours: equal figures give equal, small files."""
    whole = io.BytesIO()
    figure.savefig(whole, dpi=150)
    Image.open(whole).convert("RGB").quantize(128).save(path, optimize=True)
