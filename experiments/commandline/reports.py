"""Results as text, made of rows and numbers. Nothing is printed here."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from math import log10
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from experiments.commandline.output import advice
from experiments.runs.inspection import certificate

if TYPE_CHECKING:
    from experiments.runs.export import Export
    from experiments.runs.inspection import Inspection
    from experiments.sweeps.workers import Outcome

HOURS = ("hours", "hours_on_eight")
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def outcome(result: Mapping, path: Path) -> str:
    """The counts and accuracies of a run; the last line is `result: PATH`."""
    state = "connected" if result["connected"] else "NOT connected (layer-collapse)"
    live = f"{result['effective']:,} effective, " if "effective" in result else ""  # new results
    lines = [
        f"kept {result['kept']:,} of {result['prunable']:,} weights, {live}"
        f"{len(result['empty_tensors'])} empty tensors, {state}"
    ]
    for name in ("untrained", "best", "final"):
        if found := result[name]:
            lines.append(f"{name:9} top-1 {found['top1']:6.2f} %   top-5 {found['top5']:6.2f} %")
    return "\n".join([*lines, f"result: {path}"])


def plan(found: Mapping, program: str) -> str:
    """The runs of a sweep, and the time, the data and the disk that those to do need.

    Args:
        found: From `experiments.sweeps.plan`.
        program: The name of the program, for remedies.
    """
    rows = found["runs"]
    lines = [f"{row['state']:8}  {_duration(row['seconds']):>12}  {row['run']}" for row in rows]
    total = _duration(found["seconds"])
    lines.append(f"{found['to_do']} of {len(rows)} runs to do, about {total} (estimate)")
    lines += [*_times(found["times"]), *_data(found["data"], program), *_disk(found["disk"])]
    return "\n".join(lines)


def _times(rows: list[dict]) -> Iterator[str]:
    """A line for each network and data set and, if there are several, one for all."""
    from experiments.sweeps.cost import BASES

    for row in rows:
        basis = BASES[row["basis"]].format(row["measured"])
        what = f"{row['model']} on {row['dataset']}, {row['runs']} runs on {row['device']}"
        yield f"time  {what}: {_hours(row)} (estimate, {basis})"
    if len(rows) > 1:
        both = {key: sum(row[key] for row in rows) for key in HOURS}
        yield f"time  all {sum(row['runs'] for row in rows)} runs: {_hours(both)} (estimate)"


def _hours(row: Mapping) -> str:
    one, eight = (f"{row[key]:,.0f}" if row[key] >= 10 else f"{row[key]:.2g}" for key in HOURS)
    return f"{one} hours on one device, {eight} on eight"


def _data(rows: list[dict], program: str) -> Iterator[str]:
    for row in rows:
        here = f"{row['dataset']} is in {row['folder']}"
        yield f"data  {row['missing'] or here}{advice(row['remedy'], program)}"


def _disk(found: Mapping) -> Iterator[str]:
    if found["free"] is not None:
        yield f"disk  {_size(found['bytes'])} (estimate), {_size(found['free'])} are free"


def _size(count: float) -> str:
    """The number of bytes, in the unit that suits it."""
    power = min(int(log10(max(count, 1))) // 3, len(UNITS) - 1)
    return f"{count / 1000**power:,.4g} {UNITS[power]}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def status(rows: list[dict]) -> str:
    """The runs that are running or have failed, and how many have each status."""
    from experiments.sweeps.status import counts

    shown = [row for row in rows if row["status"] in ("running", "failed")]
    lines = [f"{row['status']:8}  {row['run']}  {row['reason']}".rstrip() for row in shown]
    numbers = ", ".join(f"{count} {name}" for name, count in counts(rows).items())
    return "\n".join([*lines, f"{len(rows)} runs: {numbers}"])


def summary(rows: list[dict]) -> str:
    """Mean, least and largest accuracy over seeds; and the number of connected networks."""
    return "\n".join(_panels(rows))


def _panels(rows: list[dict]) -> Iterator[str]:
    for model, dataset in dict.fromkeys((row["model"], row["dataset"]) for row in rows):
        yield f"\n{model} on {dataset}"
        yield f"{'pruner':24} {'compression':>11} {'seeds':>5} {'top-1 % (range)':>23} connected"
        for row in rows:
            if (row["model"], row["dataset"]) == (model, dataset):
                yield (
                    f"{row['pruner']:24} {row['compression']:11.4g} {row['seeds']:>5} "
                    f"{_range(row):>23} {row['connected']:>9}"
                )


def _range(row: dict) -> str:
    if row["top1"] is None:
        return "-"
    return f"{row['top1']:.2f} ({row['least']:.2f} - {row['largest']:.2f})"


def undone(outcomes: Sequence["Outcome"], count: int) -> str:
    """The number of runs of a sweep that are not finished, and the first reasons."""
    reasons = "; ".join(f"{o.config.directory.name}: {o.reason}" for o in outcomes[:3])
    return f"{len(outcomes)} of {count} runs are not finished ({reasons})"


def inspection(found: "Inspection") -> str:
    """Table of layers; counts, connected or not, the certificate of Theorem 4, and the notes."""
    result = found.result
    excluded = result["config"].get("exclude")
    lines = [
        *_layers(found.layers),
        f"\nkept {result['kept']:,} of {result['prunable']:,} weights: "
        f"compression {result['compression']:g} in {result['steps']} steps, "
        f"scores in {result['score_dtype']}",
        f"effective: {result['effective']:,} lie on a path from input to output",
        f"empty tensors: {', '.join(result['empty_tensors']) or 'none'}",
        *([f"dense and not counted: {', '.join(excluded)}"] if excluded else []),
        f"connected: {'yes' if result['connected'] else 'no, no path is left (layer-collapse)'}",
        *([found.moved] if found.moved else []),
        certificate(result),
        found.compact,
        *result.get("notes", ()),
    ]
    return "\n".join(lines)


def _layers(rows: list[dict]) -> Iterator[str]:
    """A line for each tensor; dead in and out are channels that no effective weight joins."""
    wide = max(len(row["name"]) for row in rows)
    heads = {"size": 12, "kept": 12, "effective": 12, "density": 9, "dead in": 9, "dead out": 9}
    heading = " ".join(f"{head:>{width}}" for head, width in heads.items())
    yield f"{'tensor':{wide}}  {'shape':>16} {heading}"
    for row in rows:
        yield (
            f"{row['name']:{wide}}  {row['shape']:>16} {row['size']:12,} {row['kept']:12,} "
            f"{row['effective']:12,} {row['density']:9.2%} {row['dead_inputs']:9,} "
            f"{row['dead_outputs']:9,}"
        )


def export(made: "Export") -> str:
    """Compare the masked with the compact network; the last line is `compact: PATH`."""
    lines = [f"{'':28}{'masked':>14}{'compact':>14}{'ratio':>8}"]
    counts = {"parameters": made.parameters, "FLOPs of one image": made.flops}
    for name, (before, after) in counts.items():
        lines.append(f"{name:28}{before:14,}{after:14,}{after / before:8.2f}")
    for batch, rounds in made.seconds.items():
        before, after = (1e3 * median(column) for column in zip(*rounds, strict=True))
        ratios = sorted(b / a for a, b in rounds)
        line = f"{f'ms for a batch of {batch}':28}{before:14.3g}{after:14.3g}{median(ratios):8.2f}"
        lines.append(f"{line}  ({ratios[0]:.2f} - {ratios[-1]:.2f} in {len(ratios)} rounds)")
    lines.append(f"outputs are equal to {made.difference:.0e} of the largest, in float64")
    return "\n".join([*lines, f"compact: {made.path}"])


def losses(rows: Mapping[str, Mapping[int, float]], epochs: list[int]) -> str:
    """Training loss after some epochs, one line per row."""
    lines = ["train loss    " + "".join(f"{f'epoch {e}':>10}" for e in epochs)]
    for name, row in rows.items():
        lines.append(f"{name:14}" + "".join(f"{row[e]:10.3f}" for e in epochs))
    return "\n".join(lines)


def datasets(rows: list[dict]) -> str:
    """All data sets, one a line: classes, shape, sizes, and the folder of each."""
    return "\n".join(map(_dataset, rows))


def _dataset(row: dict) -> str:
    size, shape = f"{row['train_size']:,} + {row['test_size']:,}", "x".join(map(str, row["shape"]))
    where = row["folder"] or "not here"
    return f"{row['dataset']:14} {row['classes']:5} classes  {shape:>9}  {size:>18}  {where}"


def dataset_rows(folder: Path) -> list[dict]:
    """The facts of all data sets; their folder is None where it is not here."""
    from train.data import DATASETS, locate

    rows = []
    for name, known in DATASETS.items():
        facts = {n: getattr(known, n) for n in ("classes", "shape", "train_size", "test_size")}
        try:
            where = str(locate(name, folder))
        except FileNotFoundError:
            where = None
        rows.append({"dataset": name, **facts, "folder": where})
    return rows
