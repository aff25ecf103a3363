"""A small multi-layer perceptron as a drawing: lines with numbers on them, and neurons."""

import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import count

import numpy as np

from experiments.figures.canvas import SYNFLOW
from reference.mlp import Mlp
from reference.pruning import Masks

MAX_LAYERS, MAX_NEURONS, MAX_CHARACTERS = 4, 6, 6
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+|[0-9]+/0*[1-9][0-9]*)")
EXAMPLE = 'example: "2,-5;5,1;-1,3|-1,1,1;1,1,-2", layers by |, neurons by ;, weights by ,'
DARK, PALE, BLUE = "#333333", "#d9d9d9", "#0072b2"
DASHES = (0, (2.5, 1))
BEHIND = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
NEAR = 0.3  # preferred place of a number on its line, from the inner end
PLACES = np.array([NEAR, *sorted(np.linspace(0.2, 0.8, 25), key=lambda t: abs(t - NEAR))])
NEURON = 17  # radius in pixels, 100 to an inch
Style = Callable[[object], dict]  # of a number: color, linestyle, linewidth, zorder of its line


def parse(text: str) -> Mlp:
    """Read a network from text: layers separated by "|", neurons by ";", weights by ",".

    Args:
        text: For example "2,-5;5,1;-1,3|-1,1,1;1,1,-2". A neuron has one weight for each neuron
            of the layer before; the neurons of the first layer fix the number of inputs.
            Weights are integers, decimals or fractions.

    Returns:
        A network whose weights are exact: arrays of `fractions.Fraction`.

    Raises:
        ValueError: If the text is not a network, or if the network is too large to draw.
    """
    layers = [[neuron.split(",") for neuron in layer.split(";")] for layer in text.split("|")]
    if len(layers) > MAX_LAYERS:
        raise ValueError(f"--weights has {len(layers)} layers; at most {MAX_LAYERS} can be drawn")
    inputs = len(layers[0][0])
    for number, neurons in enumerate(layers, 1):
        _check_layer(number, neurons, inputs)
        inputs = len(neurons)
    return Mlp(tuple(np.array([[_exact(w) for w in row] for row in layer]) for layer in layers))


def _check_layer(number: int, neurons: list[list[str]], inputs: int) -> None:
    if wrong := [weights for weights in neurons if len(weights) != inputs]:
        raise ValueError(
            f'--weights: neuron "{",".join(wrong[0])}" of layer {number} has {len(wrong[0])} '
            f"weights in place of {inputs}, one for each of its inputs ({EXAMPLE})"
        )
    if max(inputs, len(neurons)) > MAX_NEURONS:
        raise ValueError(
            f"--weights: layer {number} leads from {inputs} to {len(neurons)} neurons; "
            f"at most {MAX_NEURONS} can be drawn"
        )


def _exact(text: str) -> Fraction:
    weight = text.strip()
    if len(weight) > MAX_CHARACTERS or not NUMBER.fullmatch(weight):
        raise ValueError(
            f'--weights: "{weight}" is not a weight; write an integer, a decimal or a fraction '
            f"in at most {MAX_CHARACTERS} characters, as 2, -0.5 or 1/2 ({EXAMPLE})"
        )
    return Fraction(weight)


class Sketch:
    """A drawing of a network in one panel of a figure.

    Layers of neurons stand side by side, one unit apart. The neurons of a layer stand one unit
    apart, too. Numbers on lines move along their line to where they cover the least.

    Args:
        axes: An empty panel of matplotlib, of its final size; the limits are set here.
        network: Only the shapes of its weights are used.
        title: The headline of the panel.
    """

    def __init__(self, axes, network: Mlp, title: str) -> None:
        L, height = len(network.weights), tallest(network)
        margin = max(0.3, 1.3 - L / 2)
        self.axes = axes
        self.widths = [network.weights[0].shape[1], *(len(W) for W in network.weights)]
        self.bottom = 1 - (height - 1) / 2
        self.middle = L / 2
        axes.set_axis_off()
        axes.set_title(title, fontsize=12, color=DARK, fontweight="bold")
        axes.set_xlim(-margin, L + margin)
        axes.set_ylim(self.bottom - 1, self.bottom + height - 0.55)
        size = np.array([axes.bbox.width, axes.bbox.height])
        self.scale = size / [L + 2 * margin, height + 0.45]  # pixels per unit
        self.taken = [  # boxes that a number should not cover: centre, half of width and height
            (self.point(layer, i) * self.scale, np.array([NEURON, NEURON]))
            for layer, width in enumerate(self.widths)
            for i in range(width)
        ]

    def point(self, layer: int, neuron: int) -> np.ndarray:
        """Return the place of a neuron; layer 0 holds the inputs."""
        return np.array([layer, 1 + (self.widths[layer] - 1) / 2 - neuron])

    def neurons(self, color: str = DARK) -> None:
        """Draw all neurons with their names: x, then h, u, v for hidden layers, y."""
        letters = ("x", *"huv"[: len(self.widths) - 2], "y")
        for layer, (letter, width) in enumerate(zip(letters, self.widths, strict=True)):
            for i in range(width):
                x, y = self.point(layer, i)
                face = {"facecolor": "white", "edgecolor": color, "linewidth": 1.5}
                self.axes.scatter(x, y, s=560, zorder=5, **face)
                self.text(x, y, f"${letter}_{i + 1}$")

    def lines(
        self, numbers: tuple[np.ndarray, ...], masks: Masks, style: Style, written: bool = True
    ) -> None:
        """Draw the weights that the masks keep, each with its number.

        Args:
            numbers: One number for each weight, shaped like the weights.
            masks: The weights to draw.
            style: The look of a line by its number.
            written: Write the numbers on the lines.
        """
        kept = [(l, *at) for l, mask in enumerate(masks) for at in np.argwhere(mask).tolist()]
        lines = [(self.point(l, source), self.point(l + 1, to)) for l, to, source in kept]
        for (l, *at), line in zip(kept, lines, strict=True):
            self.axes.plot(*np.transpose(line), **style(numbers[l][tuple(at)]))
        for (l, *at), line in zip(kept if written else (), lines, strict=False):
            number = numbers[l][tuple(at)]
            inner_end_first = line[::-1] if l == 0 else line
            x, y = self._free(*inner_end_first, np.array(lines), len(str(number)))
            self.text(x, y, number, style(number)["color"], bbox=BEHIND)

    def text(
        self, x: float, y: float, text: object, color: str = DARK, size: float = 11, **more
    ) -> None:
        """Write at a place, with a proper minus sign."""
        words = str(text).replace("-", "\N{MINUS SIGN}")
        more = {"ha": "center", "va": "center", "zorder": 6} | more
        self.axes.text(x, y, words, color=color, fontsize=size, **more)

    def beside(self, layer: int, neuron: int, text: str) -> None:
        """Write next to a neuron: above the first of a layer, below the others."""
        x, y = self.point(layer, neuron)
        y += 0.3 if neuron == 0 else -0.3
        self.taken.append((np.array([x, y]) * self.scale, np.array([4.4 * len(text), 9])))
        self.text(x, y, text, size=9, bbox=BEHIND)

    def totals(self, at_neurons: Iterable[object], over_layers: Iterable[object]) -> None:
        """Write the total of each layer of neurons, and between them of each layer of weights."""
        for x, total in [*enumerate(at_neurons), *zip(count(0.5), over_layers, strict=False)]:
            self.text(x, self.bottom - 0.68, total, SYNFLOW, fontweight="bold")

    def below(self, text: str, distance: float, color: str = DARK, **more) -> None:
        """Write a line of words below the network."""
        self.text(self.middle, self.bottom - distance, text, color, 10, **more)

    def _free(self, inner, outer, lines: np.ndarray, characters: int) -> np.ndarray:
        """Take the place on a line, close to its inner end, at which a number covers the least."""
        half = np.array([4 * characters + 2, 9])
        places = inner + PLACES[:, None] * (outer - inner)  # (places, 2)
        at, sizes = np.transpose(self.taken, (1, 0, 2))  # (boxes, 2) each
        apart = abs((places * self.scale)[:, None] - at) - sizes  # (places, boxes, 2)
        boxes = (apart < half).all(axis=2).sum(axis=1)
        (x0, y0), (x1, y1) = np.transpose(lines, (1, 2, 0))  # (lines,) each
        t = (places[:, :1] - x0) / (x1 - x0)  # (places, lines)
        heights = abs(y0 + t * (y1 - y0) - places[:, 1:]) * self.scale[1]
        passing = ((t >= 0) & (t <= 1) & (heights < half[1])).sum(axis=1)
        best = places[np.argmin(10 * boxes + passing)]
        self.taken.append((best * self.scale, half))
        return best


def tallest(network: Mlp) -> int:
    """Return the neurons of the largest layer, or 3 if that is more."""
    return max(3, *(max(W.shape) for W in network.weights))
