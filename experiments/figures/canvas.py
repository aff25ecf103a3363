"""Empty matplotlib figures, and how they are saved. Only this imports matplotlib itself."""

import io
from pathlib import Path

from PIL import Image

SYNFLOW = "#d62728"  # the paper's red


def canvas(width: float, height: float):
    """Make an empty matplotlib figure of a size in inches, without a window or global state.

    Raises:
        ValueError: If matplotlib is not installed; the text gives the command to install it.
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
    """Write a figure as a PNG file of 128 colours: small, and equal for equal figures."""
    whole = io.BytesIO()
    figure.savefig(whole, dpi=150)
    Image.open(whole).convert("RGB").quantize(128).save(path, optimize=True)
