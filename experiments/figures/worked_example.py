"""Figure 0: the network of reference/README.md. Its flow (Eq. 5), scores (Eq. 6), and pruning.

Above: the weights, and what Theorem 1 and Theorem 2 say of the scores: in = out at each neuron, one
total over each cut. Below: one shot against Algorithm 1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.figures.canvas import SYNFLOW, canvas, save
from experiments.runs.files import write_rows
from reference.mlp import Mlp
from reference.pruning import Masks, all_kept, exponential, kept, masked, prune_steps
from reference.saliency import magnitude, synflow_objective, synflow_scores
from reference.theorems import theorem_4

NETWORK = Mlp((np.array([[2, -5], [5, 1], [-1, 3]]), np.array([[-1, 1, 1], [1, 1, -2]])))
COMPRESSION = 4
COLUMNS = ("panel", "layer", "from", "to", "weight", "score")
DARK, PALE, BLUE = "#333333", "#d9d9d9", "#0072b2"
HEIGHTS = {2: (1.5, 0.5), 3: (2, 1, 0)}  # of the neurons of a layer, top to bottom
NEAR = 0.3  # how far from the hidden neuron a weight's number stands
WIDTH = 0.55  # of a line, per unit of score
BEHIND = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}


class Panel(NamedTuple):
    """One drawing of the network: what is left of it, and what the last step took."""

    name: str
    masks: Masks
    step: tuple[int, int] = (0, 0)  # prune size and cut size (Theorem 4)


DENSE = Panel("dense", all_kept(NETWORK))


def draw(folder: Path) -> Path:
    """Write figure0.png and figure0.csv into the folder; returns the picture's path.

    Raises:
        ValueError: If matplotlib is not installed.
    """
    figure = canvas(10, 7.6)
    folder.mkdir(parents=True, exist_ok=True)
    panels = list(pruned_panels())
    write_rows(folder / "figure0.csv", COLUMNS, [r for p in (DENSE, *panels) for r in rows(p)])
    above = figure.add_gridspec(1, 2, left=0.01, right=0.99, top=0.95, bottom=0.42, wspace=0.02)
    below = figure.add_gridspec(1, 3, left=0.01, right=0.99, top=0.35, bottom=0.01, wspace=0.02)
    _draw_weights(_axes(figure, above[0], "Twelve weights"))
    _draw_flow(_axes(figure, above[1], "Their Synaptic Flow"))
    for place, panel in zip(below, panels):
        _draw_pruned(_axes(figure, place, f"{panel.name}: keep {kept(panel.masks)}"), panel)
    save(figure, folder / "figure0.png")
    return folder / "figure0.png"


def pruned_panels() -> Iterator[Panel]:
    """The network after one shot, and after each of two steps of Algorithm 1."""
    N = kept(DENSE.masks)
    at_once = [exponential(N, COMPRESSION, 1, 1)]
    in_two = [exponential(N, COMPRESSION, k, 2) for k in (1, 2)]
    names = ("One shot", "Algorithm 1, step 1", "Algorithm 1, step 2")
    masks = [*prune_steps(NETWORK, at_once), *prune_steps(NETWORK, in_two)]
    sizes = [*theorem_4(NETWORK, at_once), *theorem_4(NETWORK, in_two)]
    for name, mask, (prune_size, cut_size, _) in zip(names, masks, sizes):
        yield Panel(name, mask, (int(prune_size), int(cut_size)))


def rows(panel: Panel) -> Iterator[dict]:
    """One row for each weight that is left: where it leads, and what it scores now (Eq. 6)."""
    net = masked(NETWORK, panel.masks)
    for layer, (W, S, mask) in enumerate(zip(net.weights, synflow_scores(net), panel.masks), 1):
        for to, source in np.argwhere(mask).tolist():
            values = (layer, source + 1, to + 1, int(W[to, source]), int(S[to, source]))
            yield dict(zip(COLUMNS, (panel.name, *values)))


def flows() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Flow into and out of the neurons of each layer: the paths below and above them (Eq. 6)."""
    first, second = magnitude(NETWORK)
    into = [np.ones(2, int), first.sum(axis=1)]
    out = [second.sum(axis=0), np.ones(2, int)]
    return [*into, second @ into[1]], [out[0] @ first, *out]


def _axes(figure, place, title: str):
    axes = figure.add_subplot(place, xlim=(-0.3, 2.3), ylim=(-1, 2.45))
    axes.set_axis_off()
    axes.set_title(title, fontsize=12, color=DARK, fontweight="bold")
    return axes


def _edge(axes, row: dict, text: object = None, **line) -> None:
    """A weight as a line, with a number on it near its hidden neuron, where lines are apart."""
    W = NETWORK.weights[row["layer"] - 1]
    x = np.array([row["layer"] - 1, row["layer"]])
    y = np.array([HEIGHTS[W.shape[1]][row["from"] - 1], HEIGHTS[W.shape[0]][row["to"] - 1]])
    axes.plot(x, y, **line)
    if text is not None:
        t = np.array([NEAR, 1 - NEAR] if row["layer"] == 1 else [1 - NEAR, NEAR])
        _text(axes, x @ t, y @ t, text, line["color"], bbox=BEHIND)


def _text(axes, x: float, y: float, text: object, color: str = DARK, size: float = 11, **more):
    words = str(text).replace("-", "\N{MINUS SIGN}")
    axes.text(x, y, words, ha="center", va="center", color=color, fontsize=size, zorder=6, **more)


def _neurons(axes, color: str = DARK) -> None:
    for x, (letter, width) in enumerate(zip("xhy", (2, 3, 2))):
        for i, y in enumerate(HEIGHTS[width], 1):
            axes.scatter(x, y, s=560, facecolor="white", edgecolor=color, linewidth=1.5, zorder=5)
            _text(axes, x, y, f"${letter}_{i}$")


def _draw_weights(axes) -> None:
    for row in rows(DENSE):
        color, dashes = (DARK, "-") if row["weight"] > 0 else (BLUE, (0, (2.5, 1)))
        width = 0.9 * abs(row["weight"])
        _edge(axes, row, row["weight"], color=color, linestyle=dashes, linewidth=width, zorder=2)
    _neurons(axes)
    _text(axes, 1, -0.72, "dashed: negative", BLUE, 10)


def _draw_flow(axes) -> None:
    """Scores on the weights; flow in times flow out at the neurons; the total of each cut."""
    for row in rows(DENSE):
        _edge(axes, row, row["score"], color=SYNFLOW, linewidth=WIDTH * row["score"], zorder=2)
    _neurons(axes, SYNFLOW)
    into, out = flows()
    for x, (below, above) in enumerate(zip(into, out)):
        heights = HEIGHTS[len(below)]
        for y, flow_in, flow_out in zip(heights, below, above):
            beside = y + 0.3 if y == heights[0] else y - 0.3
            _text(axes, x, beside, f"{flow_in}·{flow_out} = {flow_in * flow_out}", size=9)
    totals = [int(a @ b) for a, b in zip(into, out)]
    sums = [int(S.sum()) for S in synflow_scores(NETWORK)]
    for x, total in zip((0, 0.5, 1, 1.5, 2), (totals[0], sums[0], totals[1], sums[1], totals[2])):
        _text(axes, x, -0.68, total, SYNFLOW, fontweight="bold")
    legend = "neurons: flow in · flow out;  last line: the total over every cut, R"
    _text(axes, 1, -0.92, legend, size=10)


def _draw_pruned(axes, panel: Panel) -> None:
    for row in rows(DENSE):
        _edge(axes, row, color=PALE, linewidth=0.8, zorder=1)
    for row in rows(panel):
        color, dashes = (SYNFLOW, "-") if row["score"] else (DARK, (0, (2.5, 1)))
        width = WIDTH * row["score"] or 1.5
        _edge(axes, row, row["score"], color=color, linestyle=dashes, linewidth=width, zorder=2)
    _neurons(axes)
    prune_size, cut_size = panel.step
    R = synflow_objective(masked(NETWORK, panel.masks))
    sign = "<" if prune_size < cut_size else ">"
    _text(axes, 1, -0.5, f"removes {prune_size} {sign} R = {cut_size}", size=10)
    verdict = f"R = {R}: paths are open" if R else "R = 0: no path, collapsed"
    _text(axes, 1, -0.8, verdict, SYNFLOW if R else DARK, 10, fontweight="bold")
