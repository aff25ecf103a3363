"""Empty matplotlib figures, and how they are saved. Only this imports matplotlib itself."""

import io
from pathlib import Path

from PIL import Image

from train.files import write_whole

FORMATS = ("png", "pdf", "svg")
DATELESS = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}  # equal at any time
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
    """Write a figure in the format of the path's suffix; equal figures give equal files.

    A PNG file has 128 colours, and is small.
    """
    if path.suffix not in DATELESS:
        _save_png(figure, path)
        return
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "synflow", "svg.fonttype": "none"}):
        options = {"format": path.suffix[1:], "metadata": DATELESS[path.suffix]}
        write_whole(path, lambda file: figure.savefig(file, **options))


def _save_png(figure, path: Path) -> None:
    coloured = io.BytesIO()
    figure.savefig(coloured, dpi=150)
    image = Image.open(coloured).convert("RGB").quantize(128)
    write_whole(path, lambda file: image.save(file, "PNG", optimize=True))
