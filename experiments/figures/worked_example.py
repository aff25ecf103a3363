"""Figure 0: the network of reference/README.md. Its flow (Eq. 5), scores (Eq. 6), and pruning.

Above: the weights, and Theorem 1 and Theorem 2 for the scores: in = out at each neuron, one total
over each cut. Below: one shot against Algorithm 1. Any other small network is drawn the same way.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from experiments.figures.canvas import SYNFLOW, canvas
from experiments.figures.small_network import BLUE, DARK, DASHES, PALE, Sketch, Style, tallest
from experiments.figures.style import Drawing
from reference.mlp import Mlp
from reference.pruning import Masks, all_kept, exponential, kept, masked, prune_steps
from reference.saliency import magnitude, synflow_objective, synflow_scores
from reference.theorems import Step, theorem_4

NETWORK = Mlp((np.array([[2, -5], [5, 1], [-1, 3]]), np.array([[-1, 1, 1], [1, 1, -2]])))
COMPRESSION = 4
COLUMNS = ("panel", "layer", "from", "to", "weight", "score")
WEIGHT, SCORE = (0.9, 4.5), (0.55, 5.5)  # width of a line in points: per unit, and at most
SPELLED = ("One weight", "Two weights", "Three weights", "Four weights", "Five weights",
           "Six weights", "Seven weights", "Eight weights", "Nine weights", "Ten weights",
           "Eleven weights", "Twelve weights")  # fmt: skip


class Panel(NamedTuple):
    """One drawing of the network: the weights that are left, and the step that left them."""

    name: str
    masks: Masks
    step: Step


def draw(network: Mlp = NETWORK) -> Drawing:
    """Draw the network, its flow, and three prunings of it.

    Args:
        network: At most as large as `small_network.parse` allows.

    Raises:
        ValueError: If matplotlib is not installed.
    """
    L = max(2, len(network.weights))
    figure = canvas(10 * (L + 0.6) / 2.6, 7.6 * (tallest(network) + 0.45) / 3.45)
    above = figure.add_gridspec(1, 2, left=0.01, right=0.99, top=0.95, bottom=0.42, wspace=0.02)
    below = figure.add_gridspec(1, 3, left=0.01, right=0.99, top=0.35, bottom=0.01, wspace=0.02)
    N = kept(all_kept(network))
    title = SPELLED[N - 1] if N <= len(SPELLED) else f"{N} weights"
    whose = "Its" if N == 1 else "Their"
    draw_weights(Sketch(figure.add_subplot(above[0]), network, title), network)
    _draw_flow(Sketch(figure.add_subplot(above[1]), network, f"{whose} Synaptic Flow"), network)
    for place, panel in zip(below, pruned_panels(network), strict=True):
        title = f"{panel.name}: keep {kept(panel.masks)}"
        _draw_pruned(Sketch(figure.add_subplot(place), network, title), network, panel)
    return Drawing(figure, list(table(network)), [])


def pruned_panels(network: Mlp = NETWORK) -> Iterator[Panel]:
    """Prune in one shot, and in two steps of Algorithm 1.

    The compression is COMPRESSION, or max compression N / L if that is less.
    """
    N = kept(all_kept(network))
    rho = min(COMPRESSION, Fraction(N, len(network.weights)))
    at_once = [exponential(N, rho, 1, 1)]
    in_two = [exponential(N, rho, k, 2) for k in (1, 2)]
    names = ("One shot", "Algorithm 1, step 1", "Algorithm 1, step 2")
    masks = [*prune_steps(network, at_once), *prune_steps(network, in_two)]
    steps = [*theorem_4(network, at_once), *theorem_4(network, in_two)]
    yield from map(Panel, names, masks, steps)


def table(network: Mlp = NETWORK) -> Iterator[dict]:
    """Make one row for each weight of each panel: its ends, and its score there (Eq. 6)."""
    dense = ("dense", all_kept(network))
    for name, masks in (dense, *(panel[:2] for panel in pruned_panels(network))):
        net = masked(network, masks)
        layers = zip(net.weights, synflow_scores(net), masks, strict=True)
        for layer, (W, S, mask) in enumerate(layers, 1):
            for to, source in np.argwhere(mask).tolist():
                values = (name, layer, source + 1, to + 1, W[to, source], S[to, source])
                yield dict(zip(COLUMNS, values, strict=True))


def flows(network: Mlp = NETWORK) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return flow into and out of each layer's neurons: the paths below and above them (Eq. 6)."""
    W = magnitude(network)
    into, out = [np.ones(W[0].shape[1], W[0].dtype)], [np.ones(len(W[-1]), W[-1].dtype)]
    for layer in W:
        into.append(layer @ into[-1])
    for layer in reversed(W):
        out.append(out[-1] @ layer)
    return into, out[::-1]


def draw_weights(sketch: Sketch, network: Mlp) -> None:
    """Draw all weights, the negative ones dashed."""
    width = _widths(WEIGHT, magnitude(network))

    def style(weight: object) -> dict:
        color, dashes = (BLUE, DASHES) if weight < 0 else (DARK, "-")
        return {"color": color, "linestyle": dashes, "linewidth": width(weight), "zorder": 2}

    sketch.lines(network.weights, all_kept(network), style)
    sketch.neurons()
    if any((W < 0).any() for W in network.weights):
        sketch.below("dashed: negative", 0.72, BLUE)


def score_style(network: Mlp) -> Style:
    """Return the look of Synaptic Flow in the network, and in what pruning leaves of it."""
    width = _widths(SCORE, synflow_scores(network))

    def style(score: object) -> dict:
        if score == 0:
            return {"color": DARK, "linestyle": DASHES, "linewidth": 1.5, "zorder": 2}
        return {"color": SYNFLOW, "linestyle": "-", "linewidth": width(score), "zorder": 2}

    return style


def draw_left(sketch: Sketch, network: Mlp, masks: Masks) -> None:
    """Draw the weights that are left, with their scores, over pale lines for all weights."""
    pale = {"color": PALE, "linewidth": 0.8, "zorder": 1}
    sketch.lines(network.weights, all_kept(network), lambda weight: pale, written=False)
    sketch.lines(synflow_scores(masked(network, masks)), masks, score_style(network))
    sketch.neurons()
    R = synflow_objective(masked(network, masks))
    verdict = f"R = {R}: paths are open" if R else "R = 0: no path, collapsed"
    sketch.below(verdict, 0.8, SYNFLOW if R else DARK, fontweight="bold")


def _widths(limits: tuple[float, float], layers: tuple[np.ndarray, ...]):
    """Return the width of a line by its number: in proportion, but neither invisible nor huge."""
    largest = float(max(layer.max() for layer in layers))
    unit = min(limits[0], limits[1] / largest) if largest else 0
    return lambda number: max(0.5, unit * abs(float(number)))


def _draw_flow(sketch: Sketch, network: Mlp) -> None:
    """Draw scores on the weights, flow in times flow out at neurons, and the total of each cut."""
    into, out = flows(network)
    for layer, neurons in enumerate(zip(into, out, strict=True)):
        for i, (flow_in, flow_out) in enumerate(zip(*neurons, strict=True)):
            sketch.beside(layer, i, f"{flow_in}·{flow_out} = {flow_in * flow_out}")
    scores = synflow_scores(network)
    sketch.lines(scores, all_kept(network), score_style(network))
    sketch.neurons(SYNFLOW)
    sketch.totals([a @ b for a, b in zip(into, out, strict=True)], [S.sum() for S in scores])
    sketch.below("neurons: flow in · flow out;  last line: the total over every cut, R", 0.92)


def _draw_pruned(sketch: Sketch, network: Mlp, panel: Panel) -> None:
    draw_left(sketch, network, panel.masks)
    removed, R, _ = panel.step
    sign = "<" if removed < R else ">" if removed > R else "="
    sketch.below(f"removes {removed} {sign} R = {R}", 0.5)
