"""Tables of runs, for the page of results/laptop: one number for each seed, and no means."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.figures import collect, variants
from experiments.series import DENSE
from experiments.sweeps.presets import PRESETS, preset
from experiments.sweeps.sweep import state

Cells = dict[tuple[str, str], list[str]]  # (row, column) -> a number for each seed


def completed(results: str | Path) -> str:
    """Count the finished runs of each preset that has one."""
    lines = []
    for name in PRESETS:
        states = [state(config) for config in preset([name], {"results": str(results)})]
        if count := states.count("finished"):
            lines.append(f"{name:20}{count:4} of {len(states)} runs")
    return "\n".join(lines)


def accuracies(results: str | Path, series: Sequence[str], **filters: object) -> str:
    """Tabulate final top-1 accuracy in percent by compression, from the dense network on.

    A * marks layer-collapse: no path from input to output is left.

    Args:
        results: The folder of the runs.
        series: The columns: labels of series.
        filters: Fields of a run's configuration -> the values wanted, so that one network is left.

    Raises:
        FileNotFoundError: If there are no runs.
        ValueError: If the filters leave no network, or several.
    """
    cells: Cells = {}
    wanted = {*series, DENSE.label}
    found = [r for r in collect.runs(Path(results)) if r["series"].label in wanted]
    panel = collect.only("of accuracies", collect.panels(found, filters))
    for row in sorted(panel.rows, key=lambda row: (row["compression"], row["seed"])):
        text = f"{row['final_top1']:.1f}" + ("" if row["connected"] else "*")
        for label in series if row["series"] == DENSE else [row["series"].label]:
            cells.setdefault((f"{row['compression']:.4g}", label), []).append(text)
    return _text("compression", cells, series)


def differences(results: str | Path, **filters: object) -> str:
    """Tabulate each variant's accuracy minus that of its pruner as usual, at equal seeds.

    Arguments and errors are those of `accuracies`.
    """
    shown = variants.collected(Path(results), filters)
    collect.only("of differences", list({id(small.panel): small.panel for small in shown}.values()))
    cells: Cells = {
        (f"{small.pruner} {variant}", f"{compression:g}"): [f"{value:+.1f}" for value in values]
        for small in shown
        for variant, compression, values in variants.gaps(small.curves, "final_top1")
    }
    return _text("variant", cells, sorted({column for _, column in cells}, key=float))


def _text(corner: str, cells: Cells, columns: Sequence[str]) -> str:
    names = list(dict.fromkeys(row for row, _ in cells))
    rows = [[corner, *columns]]
    rows += [[name, *(" ".join(cells.get((name, c), "-")) for c in columns)] for name in names]
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
