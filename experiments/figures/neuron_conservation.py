"""Figure 3: conservation of the score at each hidden unit (Theorem 1)."""

from collections.abc import Iterator, Sequence

import numpy as np

from experiments.config import RunConfig
from experiments.figures import cells, one_shot, style
from experiments.figures.published import published_rows
from experiments.figures.statistics import pearson, relative_gaps
from experiments.runs.progress import Progress

CAPTION = (
    "Total score of the weights into ($S_{{in}}$) and out of ($S_{{out}}$) each channel of "
    "{model} at initialisation, {units:,} channels between two convolutions. Dotted: exact "
    "conservation (Theorem 1). Random scores have both signs, on linear axes. r: Pearson's "
    "correlation. {images}"
)


def compute(configs: Sequence[RunConfig], progress: Progress) -> None:
    """Compute and save the cells that are missing."""
    [config] = configs
    one_shot.compute(config, progress)


def draw(configs: Sequence[RunConfig]) -> style.Drawing:
    """Draw the saved cells.

    Raises:
        FileNotFoundError: If there is none.
    """
    [config] = configs
    found = {p: cells.load(one_shot.cell_path(config, p)) for p in one_shot.PRUNERS}
    units = {pruner: cell["units"] for pruner, cell in found.items() if cell}
    if not units:
        raise cells.nothing(config, 3)
    if not all(units.values()):
        raise ValueError(f"figure 3 needs consecutive convolutions, and {config.model} has none")
    published = _published_correlations() if cells.comparable(config) else {}
    text = CAPTION.format(
        model=cells.title(config),
        units=len(next(iter(units.values()))),
        images=one_shot.images_note(config),
    )
    figure, axes = style.grid(len(units), text)
    for axis, (pruner, pairs) in zip(axes, units.items(), strict=True):
        _panel(axis, pairs, style.LOOKS[pruner], published.get(pruner))
    style.label_all(axes, "$S_{in}$ of a channel", "$S_{out}$ of a channel")
    rows = [
        {"pruner": pruner, "unit": i, "S_in": S_in, "S_out": S_out}
        for pruner, pairs in units.items()
        for i, (S_in, S_out) in enumerate(pairs)
    ]
    return style.Drawing(figure, rows, list(_notes(units, published)))


def _published_correlations() -> dict[str, float]:
    """Read the published Pearson correlations over all units, by pruner."""
    rows = published_rows("figure3")
    return {row["pruner"]: float(row["pearson"]) for row in rows if row["layer"] == "all"}


def _panel(axis, pairs: list, look: style.Look, published: float | None) -> None:
    S_in, S_out = np.array(pairs).T
    signed = (S_in <= 0).mean() > 0.2  # random scores: half of the units
    low, high = _limits(np.array(pairs), signed)
    axis.plot([low, high], [low, high], ":", color=style.INK, lw=1)
    axis.plot(
        S_in, S_out, look.marker, color=look.color, ms=2.4, mew=0, alpha=0.35, rasterized=True
    )
    if not signed:
        style.log(axis)
    axis.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    style.title(axis, look.label, look.color)
    text = f"r = {pearson(pairs):.3f}"
    style.corner(axis, text if published is None else f"{text}\npublished {published:.3f}")


def _limits(pairs, signed: bool) -> tuple[float, float]:
    """Choose the same limits for both axes; log axes use the positive values only."""
    if signed:
        high = float(np.abs(pairs).max()) * 1.1
        return -high, high
    positive = pairs[pairs > 0]
    low, high = float(positive.min()) / 1.5, float(positive.max()) * 1.5
    return min(low, high / 100), high


def _notes(units: dict[str, list], published: dict[str, float]) -> Iterator[str]:
    for pruner, pairs in units.items():
        median, largest = relative_gaps(pairs)
        theirs = f" (published {published[pruner]:.4f})" if pruner in published else ""
        yield (
            f"{pruner}: correlation of S_in and S_out {pearson(pairs):.4f}{theirs}; "
            f"|S_in - S_out| relative: median {median:.2g}, largest {largest:.2g}"
        )
