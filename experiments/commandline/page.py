"""One HTML page about a run, made of what `inspect` finds; it loads nothing from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from experiments.commandline import charts
from experiments.commandline.elements import command, document, figure, paragraph, section, table
from experiments.commandline.option_files import command_of
from experiments.config import HYPERPARAMETERS, PRUNING_DETAILS, RunConfig, restore
from experiments.figures import collect, style
from experiments.runs import files
from experiments.runs.build import probe_shape
from experiments.runs.flops import flops_of
from experiments.runs.inspection import Inspection, certificate, inspect
from experiments.runs.owners import SUMS
from experiments.series import series_of

PAGE = "report.html"
DENSITIES = (
    "The fraction of each layer's weights that is kept (filled, solid), and that is effective: "
    "on a path from input to output (hollow, dashed). A cross: none is left."
)
RATIOS = (
    "The score that each step removed, over the cut size R. Below 1 (dotted) no step can close the "
    "last path (Theorem 4)."
)
EPOCHS = "Test accuracy after each epoch, the untrained network first."


def write(directory: Path, model: str | None = None, dataset: str | None = None) -> Path:
    """Write report.html into the directory of a finished run.

    Arguments and errors are those of `inspect`.

    Returns:
        The path of the page.

    Raises:
        OSError: If a file cannot be read or written.
    """
    found = inspect(directory, model, dataset)
    history = []
    if found.result["config"]["epochs"]:
        sums = found.result.get(SUMS, {})
        history = files.read_rows(directory / files.HISTORY, files.HISTORY_COLUMNS, sums)
    files.write_text(directory / PAGE, page(found, history))
    return directory / PAGE


def page(found: Inspection, history: Sequence[Mapping]) -> str:
    """The text of the page; `history` has the rows of history.csv, and none without training."""
    config = restore(found.result["config"])
    parts = (
        table([], _outcome(found)),
        section("Layers", _layers(found)),
        section("Is there a path?", _paths(found)),
        section("Accuracy", _accuracy(found.result, history)),
        section("What compact leaves", _left(found, config)),
        section("Settings", table([], _settings(config))),
        section("The same run again", command(command_of(config))),
        section("Notes", "".join(map(paragraph, found.result.get("notes", ())))),
        section("Made by", table([], _makers(found.result, config))),
    )
    return document(_title(config), "".join(parts))


def _title(config: RunConfig) -> str:
    network = collect.name(config.model, config.width, config.dataset)
    if config.compression == 1:
        return f"{network}: dense"
    return f"{network}: {style.look(series_of(config)).label} to compression {config.compression:g}"


def _outcome(found: Inspection) -> Iterator[tuple]:
    """The rows of the first table."""
    result = found.result
    yield "weights kept", f"{result['kept']:,} of {result['prunable']:,}"
    yield "effective", f"{result['effective']:,} lie on a path from input to output"
    steps = "1 step" if result["steps"] == 1 else f"{result['steps']} steps"
    yield "compression", f"{result['compression']:.6g} in {steps}"
    yield "connected", "yes" if result["connected"] else "no: no path is left (layer-collapse)"
    if result["final"]:
        yield "top-1 accuracy", f"{result['final']['top1']:.2f} % after the last epoch"


def _layers(found: Inspection) -> str:
    rows = found.layers
    kept = {i: row["density"] for i, row in enumerate(rows, 1)}
    live = {i: row["effective"] / row["size"] for i, row in enumerate(rows, 1)}
    x = charts.counts(1, len(rows))
    y = charts.decades(value for value in (*kept.values(), *live.values(), 1.0) if value)
    marks = [
        charts.curve("b", live.items(), x, y),
        charts.curve("a", kept.items(), x, y),
        charts.crosses("a", [i for i, value in kept.items() if not value], x),
    ]
    labels = ("layer", "fraction of weights")
    heads = ("layer", "shape", "weights", "kept", "effective", "density", "dead in", "dead out")
    body = [
        (f"{i} {row['name']}", row["shape"], row["size"], row["kept"], row["effective"],
         f"{row['density']:.2%}", row["dead_inputs"], row["dead_outputs"])
        for i, row in enumerate(rows, 1)
    ]  # fmt: skip
    dead = "Dead: channels of a layer's input or output that no effective weight joins."
    picture = charts.chart("Density of each layer", x, y, labels, marks)
    return figure(picture, DENSITIES) + table(heads, body) + paragraph(dead)


def _paths(found: Inspection) -> str:
    """The certificate of connectivity, in the words of `inspect`, and the steps behind it."""
    result = found.result
    state = "A path from input to output is left." if result["connected"] else (
        "No path from input to output is left: layer-collapse."
    )  # fmt: skip
    empty = f"Empty tensors: {', '.join(result['empty_tensors']) or 'none'}."
    texts = (state, _sentence(certificate(result)), empty, found.moved and _sentence(found.moved))
    words = "".join(paragraph(text) for text in texts if text)
    points = [(row["step"], row["prune_cut_ratio"]) for row in found.steps]
    points = [(step, ratio) for step, ratio in points if ratio]  # none of other scores, no 0
    if not points:
        return words
    x = charts.counts(1, len(found.steps))
    y = charts.decades([ratio for _, ratio in points])
    marks = [charts.level(1, y), charts.curve("a", points, x, y)]
    labels = ("pruning step", "prune size / cut size")
    picture = charts.chart("Prune size over cut size of each step", x, y, labels, marks)
    last = found.steps[-1]
    cut = f"Before the last step the cut size R was {last['R']:.6g}." if last["R"] else ""
    return words + figure(picture, f"{RATIOS} {cut}")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _accuracy(result: Mapping, history: Sequence[Mapping]) -> str:
    if not result["final"]:
        return paragraph("The network was pruned and not trained.")
    names = {"untrained": "untrained", "best": "best epoch", "final": "last epoch"}
    rows = [
        (name, *(f"{result[key][column]:.2f}" for column in ("top1", "top5", "loss")))
        for key, name in names.items()
    ]
    numbers = table(("", "top-1 %", "top-5 %", "loss"), rows)
    points = [(0, result["untrained"]["top1"]), *((row["epoch"], row["top1"]) for row in history)]
    x, y = charts.counts(0, len(history)), charts.percent()
    labels = ("epoch", "top-1 accuracy in %")
    picture = charts.chart(
        "Accuracy of each epoch", x, y, labels, [charts.curve("a", points, x, y)]
    )
    return figure(picture, EPOCHS) + numbers


def _left(found: Inspection, config: RunConfig) -> str:
    """The sizes of the masked network and of what `compact` makes of it, or why it cannot."""
    words = paragraph(_sentence(found.compact))
    if found.networks is None:
        return words
    image = torch.zeros(1, *probe_shape(config))
    sizes = {
        "parameters": [sum(p.numel() for p in net.parameters()) for net in found.networks],
        "FLOPs of one image": [flops_of(net, image) for net in found.networks],
    }
    rows = [(name, *pair, f"{pair[1] / pair[0]:.3f}") for name, pair in sizes.items()]
    before, after = (dict(net.named_parameters()) for net in found.networks)
    shapes = [
        (row["name"], _shape(before[row["name"]]), _shape(after[row["name"]]))
        for row in found.layers
        if row["name"] in before and row["name"] in after
    ]
    heads = ("masked", "compact")
    sizes_table, shapes_table = table(("", *heads, "ratio"), rows), table(("layer", *heads), shapes)
    return words + sizes_table + paragraph("Shapes of the weights:") + shapes_table


def _shape(weight: torch.Tensor) -> str:
    return "x".join(map(str, weight.shape))


def _settings(config: RunConfig) -> Iterator[tuple]:
    """The options of the run; those without a value or a meaning for it are left out."""
    idle = set(_idle(config))
    for name, value in config.decisive.items():
        if name not in idle and value not in (None, ()) and value is not False:
            yield name.replace("_", "-"), _written(value)


def _idle(config: RunConfig) -> Iterator[str]:
    """The options without a meaning for this run."""
    if not config.cycles:
        yield from ("cycles", "rewind")
    if config.compression == 1:
        yield from ("pruner", *PRUNING_DETAILS)
    if config.epochs == 0:
        yield from ("recipe", "precision", *HYPERPARAMETERS)


def _written(value: object) -> str:
    if value is True:
        return "yes"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _makers(result: Mapping, config: RunConfig) -> Iterator[tuple]:
    yield "run", config.directory.name
    for name, value in result["versions"].items():
        if value is not None:
            yield name, str(value)
    for name, seconds in result["seconds"].items():
        yield f"seconds to {name}", f"{seconds:,.1f}"
