"""`figure table`: mean, range and 95 % interval over seeds, and paired differences of pruners.

Each of the two tables is written as CSV and as LaTeX.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

from experiments.figures import collect
from experiments.figures.accuracy import WHICH
from experiments.figures.statistics import Summary, summary
from experiments.runs.files import write_rows, write_text

Rows = list[dict]
NUMBERS = ("mean", "least", "largest", "low", "high")  # the columns with two decimals in LaTeX


def write(
    results: Path, filters: Mapping[str, object], best: bool, folder: Path
) -> tuple[Path, list[str]]:
    """Write table.csv, table.tex, differences.csv and differences.tex into the folder.

    Args:
        results: The folder of the runs.
        filters: Fields of a run's configuration -> the values wanted.
        best: Take the best epochs, not the last ones.
        folder: It is made if it is not there.

    Returns:
        The path of table.tex, and a note for each other file.

    Raises:
        FileNotFoundError: If there are no runs.
        ValueError: If none has the values of the filters.
    """
    column = WHICH[best][0]
    panels = collect.panels(collect.runs(results), filters)
    tables = {"table": list(accuracies(panels, column))}
    if differences := list(paired(panels, column)):
        tables["differences"] = differences
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        write_rows(folder / f"{name}.csv", rows[0], rows)
        write_text(folder / f"{name}.tex", latex(rows))
    files = [folder / f"{name}.{kind}" for kind in ("tex", "csv") for name in tables]
    return files[0], [f"also: {path}" for path in files[1:]]


def accuracies(panels: list[collect.Panel], column: str) -> Iterator[dict]:
    """Summarise the accuracy of each network, pruner and compression over seeds."""
    for panel in panels:
        for series, points in _by_seed(panel, column).items():
            for compression, values in points.items():
                yield _row(panel, series, compression, summary(list(values.values())))


def paired(panels: list[collect.Panel], column: str) -> Iterator[dict]:
    """Summarise the difference of each two pruners at equal compression and equal seeds."""
    for panel in panels:
        for (a, ours), (b, theirs) in combinations(_by_seed(panel, column).items(), 2):
            for compression in sorted(ours.keys() & theirs.keys()):
                first, second = ours[compression], theirs[compression]
                both = [first[seed] - second[seed] for seed in first if seed in second]
                if both:
                    yield _row(panel, f"{a} - {b}", compression, summary(both))


def _by_seed(panel: collect.Panel, column: str) -> dict[str, dict[float, dict[int, float]]]:
    """Sort the values of a column: label of the series -> compression -> seed -> value."""
    found: dict[str, dict[float, dict[int, float]]] = {}
    rows = panel.rows
    for row in sorted(rows, key=lambda r: (r["series"].label, r["compression"], r["seed"])):
        points = found.setdefault(row["series"].label, {})
        points.setdefault(row["compression"], {})[row["seed"]] = row[column]
    return found


def _row(panel: collect.Panel, series: str, compression: float, found: Summary) -> dict:
    place = {"network": panel.name, "epochs": panel.setting["epochs"]}
    return place | {"series": series, "compression": compression} | found._asdict()


def latex(rows: Rows) -> str:
    """Return a tabular with one line for each row, its numbers with two decimals."""
    aligned = "".join("l" if key in ("network", "series") else "r" for key in rows[0])
    lines = [_line(list(rows[0])), "\\hline", *(_line(_cells(row)) for row in rows)]
    return "\n".join([f"\\begin{{tabular}}{{{aligned}}}", *lines, "\\end{tabular}", ""])


def _cells(row: dict) -> list[str]:
    return [_cell(key, value) for key, value in row.items()]


def _cell(key: str, value: object) -> str:
    if value is None:
        return "--"
    if key in NUMBERS:
        return f"{value:.2f}"
    return f"{value:.4g}" if key == "compression" else str(value)


def _line(cells: list[str]) -> str:
    escaped = ["".join(f"\\{c}" if c in "_&%#$" else c for c in cell) for cell in cells]
    return " & ".join(escaped) + " \\\\"
