"""Figure 7: how many steps, and which schedule, keep the prune size below the cut size."""

from collections.abc import Iterator, Sequence

from experiments.config import RunConfig
from experiments.figures import cells, style, walks
from experiments.runs.progress import Progress

SCHEDULES = ("linear", "exponential")
EXPONENTS = (0.5, 1, 1.5, 2, 2.5, 3)
STEPS, ALL_STEPS = (1, 10, 50, 100), (1, *range(10, 101, 10))
CAPTION = (
    "Largest prune size / cut size over the steps of SynFlow on {model} at initialisation, by the "
    "number of steps, for compressions 10^0.5 (solid) to 10^3 (faint). Dotted: 1; below it no step "
    "can close the last path (Theorem 4). {circles}"
)
CIRCLES = "Circles: published (one run, float32)."


def wanted(full: bool) -> list[walks.Cell]:
    """The cells of the figure: what the paper shows if `full`, else four numbers of steps.

    Compressions are rounded as they are named, so that 10^0.5 twice is 10.
    """
    return [
        walks.Cell(schedule, 10**exponent, steps)
        for steps in (ALL_STEPS if full else STEPS)
        for schedule in reversed(SCHEDULES)
        for exponent in EXPONENTS
    ]


def compute(configs: Sequence[RunConfig], progress: Progress, full: bool = False) -> None:
    """Compute and save the cells that are missing, the quickest first."""
    [config] = configs
    walks.compute(config, wanted(full), progress)


def draw(configs: Sequence[RunConfig]) -> style.Drawing:
    """Draw what is computed, of the whole published grid.

    Raises:
        FileNotFoundError: If nothing is.
    """
    [config] = configs
    rows = list(_rows(config))
    if not rows:
        raise cells.nothing(config, 7)
    circles = CIRCLES if cells.comparable(config) else ""
    text = CAPTION.format(model=cells.title(config), circles=circles)
    figure, axes = style.panels(1, 2, (3.4, 2.7), text, sharey=True)
    for axis, schedule in zip(axes, SCHEDULES):
        _panel(axis, [row for row in rows if row["schedule"] == schedule], schedule)
    style.labels(axes[0], y="largest prune size / cut size")
    return style.Drawing(figure, rows, list(_notes(rows)))


def _rows(config: RunConfig) -> Iterator[dict]:
    known = {}
    if cells.comparable(config):
        for row in style.published("figure7"):
            key = row["schedule"], f"{float(row['compression']):g}", int(row["steps"])
            known[key] = float(row["max_prune_cut_ratio"])
    for cell in wanted(full=True):
        if found := cells.load(cell.path(config)):
            published = known.get((cell.schedule, f"{cell.compression:g}", cell.steps))
            ratio = {"max_prune_cut_ratio": found["max_prune_cut_ratio"]}
            yield cell._asdict() | ratio | {"published_max_prune_cut_ratio": published}


def _panel(axis, rows: list[dict], schedule: str) -> None:
    look = style.LOOKS["synflow"]
    for exponent, opacity in zip(EXPONENTS, style.fading(len(EXPONENTS))):
        curve = sorted(
            (row["steps"], row["max_prune_cut_ratio"], row["published_max_prune_cut_ratio"])
            for row in rows
            if row["compression"] == 10**exponent
        )
        if not curve:
            continue
        steps, ours, theirs = zip(*curve)
        axis.plot(steps, ours, look.line, marker=look.marker, color=look.color, alpha=opacity,
                  ms=3.5, mew=0, lw=1.5)  # fmt: skip
        if None not in theirs:
            axis.plot(steps, theirs, "o", mfc="none", mec=style.INK, mew=0.7, ms=6, alpha=0.7)
        axis.text(steps[-1] * 1.06, ours[-1], f"$10^{{{exponent:g}}}$", fontsize=7, va="center")
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
            text += f" (published {theirs:.4f}, {style.ratio(row['max_prune_cut_ratio'], theirs)})"
        yield text


def _exponent(row: dict) -> float:
    return next(e for e in EXPONENTS if 10**e == row["compression"])
