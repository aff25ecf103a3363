"""Figure 4: a layer's average score against the inverse of its size (Theorem 2)."""

from collections.abc import Iterator, Sequence

import numpy as np

from experiments.config import RunConfig
from experiments.figures import cells, one_shot, style
from experiments.figures.published import published_rows
from experiments.figures.statistics import LogLogFit, log_log_fit
from experiments.runs.progress import Progress

CAPTION = (
    "Average score of each layer of {model} at initialisation against the inverse of its size, "
    "biases counted. Dotted: slope 1, which Theorem 2 gives where each layer is a cut. Random "
    "scores as absolute values. {circles}{images}"
)
CIRCLES = (
    "Circles: published, moved to the same mean, since the data differ; of GraSP negated "
    "(footnote 4). "
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
    rows = list(_rows(config))
    if not rows:
        raise cells.nothing(config, 4)
    pruners = list(dict.fromkeys(row["pruner"] for row in rows))
    circles = CIRCLES if cells.comparable(config) else ""
    images = one_shot.images_note(config)
    text = CAPTION.format(model=cells.title(config), circles=circles, images=images)
    figure, axes = style.grid(len(pruners), text)
    for axis, pruner in zip(axes, pruners, strict=True):
        _panel(axis, [row for row in rows if row["pruner"] == pruner], style.LOOKS[pruner])
    style.label_all(axes, "1 / size of the layer", "average score")
    style.share_x(axes)
    return style.Drawing(figure, rows, list(_notes(rows)))


def _rows(config: RunConfig) -> Iterator[dict]:
    """Make one row per pruner and layer, with the published score of the paper's network."""
    known = {}
    if cells.comparable(config):
        for row in published_rows("figure4"):
            known[row["pruner"], row["name"]] = float(row["average_score"])
    for pruner in one_shot.PRUNERS:
        cell = cells.load(one_shot.cell_path(config, pruner)) or {"layers": []}
        for layer in cell["layers"]:
            yield {
                "pruner": pruner,
                "name": layer["name"],
                "inverse_size": 1 / layer["size_with_biases"],
                "average_score": _average(pruner, layer),
                "published_average_score": known.get((pruner, layer["name"])),
            }


def _average(pruner: str, layer: dict) -> float:
    """Average over weights and biases. A bias of 0 scores 0, except at random, as any weight."""
    if pruner == "random":
        return layer["score_abs_sum"] / layer["size"]
    return layer["score_sum"] / layer["size_with_biases"]


def _fits(rows: list[dict]) -> tuple[LogLogFit, LogLogFit | None]:
    """Fit our average scores, and the published ones if all layers have one."""
    x = [row["inverse_size"] for row in rows]
    theirs = [row["published_average_score"] for row in rows]
    ours = log_log_fit(x, [row["average_score"] for row in rows])
    return ours, None if None in theirs else log_log_fit(x, theirs)


def _panel(axis, rows: list[dict], look: style.Look) -> None:
    x, y = np.array([(row["inverse_size"], row["average_score"]) for row in rows]).T
    positive = y > 0
    middle = _geometric_mean(y[positive])
    ends = np.array([x.min() / 2, x.max() * 2])
    axis.plot(ends, middle * ends / _geometric_mean(x[positive]), ":", color=style.INK, lw=1)
    ours, published = _fits(rows)
    if published:
        theirs = np.array([row["published_average_score"] for row in rows])
        theirs *= middle / _geometric_mean(theirs[positive])
        axis.plot(x, theirs, "o", mfc="none", mec=style.INK, mew=0.8, ms=7, alpha=0.8)
    axis.plot(x, y, look.marker, color=look.color, ms=4, mew=0)
    style.log(axis)
    axis.set_box_aspect(1)
    if y.max() < 3 * y.min():
        axis.set_ylim(y.min() / 30, y.max() * 30)  # so that equal scores look equal
    style.title(axis, look.label, look.color)
    text = f"slope {ours.slope:.3f}"
    style.corner(axis, f"{text}\npublished {published.slope:.3f}" if published else text)


def _geometric_mean(values: np.ndarray) -> float:
    return np.exp(np.log(values).mean())


def _notes(rows: list[dict]) -> Iterator[str]:
    for pruner in dict.fromkeys(row["pruner"] for row in rows):
        ours, published = _fits([row for row in rows if row["pruner"] == pruner])
        text = f"{pruner}: log-log slope {ours.slope:.4f}, correlation {ours.correlation:.4f}"
        if published:
            text += f" (published {published.slope:.4f}, {published.correlation:.4f})"
        yield text
