"""Figure 7: largest prune size / cut size, by schedule, number of steps and compression."""

from collections.abc import Iterator, Sequence

from experiments.config import RunConfig
from experiments.figures import cells, style, walks
from experiments.figures.published import published_rows
from experiments.figures.statistics import percent_difference
from experiments.runs.progress import Progress

SCHEDULES = ("linear", "exponential")
EXPONENTS = (0.5, 1, 1.5, 2, 2.5, 3)
STEPS = (1, 10, 50, 100)
ALL_STEPS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)  # of the paper
CAPTION = (
    "Largest prune size / cut size over the steps of SynFlow on {model} at initialisation, by the "
    "number of steps, for compressions 10^0.5 (solid) to 10^3 (faint). Dotted: 1; below it no step "
    "can close the last path (Theorem 4). {circles}"
)
CIRCLES = "Circles: published (one run, float32)."


def wanted(full: bool) -> list[walks.Cell]:
    """List the cells of the figure: with the paper's numbers of steps if `full`, else with four."""
    return [
        walks.Cell(schedule, 10**exponent, steps)
        for steps in (ALL_STEPS if full else STEPS)
        for schedule in reversed(SCHEDULES)
        for exponent in EXPONENTS
    ]


def compute(configs: Sequence[RunConfig], progress: Progress, full: bool = False) -> None:
    """Compute and save the missing cells, the quickest first; `full` as in `wanted`."""
    [config] = configs
    walks.compute(config, wanted(full), progress)


def draw(configs: Sequence[RunConfig]) -> style.Drawing:
    """Draw the saved cells of the whole published grid.

    Raises:
        FileNotFoundError: If there is none.
    """
    [config] = configs
    rows = list(_rows(config))
    if not rows:
        raise cells.nothing(config, 7)
    circles = CIRCLES if cells.comparable(config) else ""
    text = CAPTION.format(model=cells.title(config), circles=circles)
    figure, axes = style.panels(1, 2, (3.4, 2.7), text, sharey=True)
    for axis, schedule in zip(axes, SCHEDULES, strict=True):
        _panel(axis, [row for row in rows if row["schedule"] == schedule], schedule)
    style.labels(axes[0], y="largest prune size / cut size")
    return style.Drawing(figure, rows, list(_notes(rows)))


def _rows(config: RunConfig) -> Iterator[dict]:
    """Make one row per saved cell, with the published ratio of the paper's network."""
    known = {}
    if cells.comparable(config):
        for row in published_rows("figure7"):
            key = row["schedule"], f"{float(row['compression']):g}", int(row["steps"])
            known[key] = float(row["max_prune_cut_ratio"])
    for cell in wanted(full=True):
        if found := cells.load(cell.path(config)):
            published = known.get((cell.schedule, f"{cell.compression:g}", cell.steps))
            ratio = {"max_prune_cut_ratio": found["max_prune_cut_ratio"]}
            yield cell._asdict() | ratio | {"published_max_prune_cut_ratio": published}


def _panel(axis, rows: list[dict], schedule: str) -> None:
    look = style.LOOKS["synflow"]
    for exponent, opacity in zip(EXPONENTS, style.fading(len(EXPONENTS)), strict=True):
        curve = sorted(
            (row["steps"], row["max_prune_cut_ratio"], row["published_max_prune_cut_ratio"])
            for row in rows
            if row["compression"] == 10**exponent
        )
        if not curve:
            continue
        steps, ours, theirs = zip(*curve, strict=True)
        axis.plot(steps, ours, look.line, marker=look.marker, color=look.color, alpha=opacity,
                  ms=3.5, mew=0, lw=1.5)  # fmt: skip
        if None not in theirs:
            axis.plot(steps, theirs, "o", mfc="none", mec=style.INK, mew=0.7, ms=6, alpha=0.7)
        power = style.powers(f"10^{exponent:g}")
        axis.text(steps[-1] * 1.06, ours[-1], power, fontsize=7, va="center", color=style.INK)
    axis.axhline(1, color=style.INK, ls=":", lw=1)
    style.log(axis)
    axis.set_xlim(0.85, 175)
    axis.set_xticks([1, 10, 20, 50, 100], ["1", "10", "20", "50", "100"])
    style.title(axis, f"{schedule.capitalize()} schedule")
    style.labels(axis, x="pruning steps")


def _notes(rows: list[dict]) -> Iterator[str]:
    for row in rows:
        cell = f"{row['schedule']} 10^{_exponent(row):g} in {row['steps']} steps"
        text = f"{cell}: {row['max_prune_cut_ratio']:.4f}"
        if theirs := row["published_max_prune_cut_ratio"]:
            difference = percent_difference(row["max_prune_cut_ratio"], theirs)
            text += f" (published {theirs:.4f}, {difference})"
        yield text


def _exponent(row: dict) -> float:
    return next(e for e in EXPONENTS if 10**e == row["compression"])
