"""Two more pictures of reference/README.md: saliency on its network, and why layers collapse.

The first shows Theorem 1 and Theorem 2 for one input. In the second all layers have one total, so
the largest has the lowest average score: one shot removes all of it, Algorithm 1 does not.
"""

import numpy as np

from experiments.figures.canvas import SYNFLOW, canvas
from experiments.figures.small_network import BLUE, DARK, DASHES, Sketch
from experiments.figures.style import Drawing
from experiments.figures.worked_example import NETWORK, draw_left, draw_weights, score_style
from reference.mlp import Mlp, forward
from reference.pruning import Masks, all_kept, synflow_prune
from reference.saliency import synaptic_saliency, synflow_scores
from reference.theorems import theorem_1, theorem_2

ONES = np.array([[1, 1]])  # the input, and dR/dy
WIDE = Mlp(tuple(np.ones(shape, int) for shape in ((4, 1), (4, 4), (1, 4))))
COMPRESSION, STEPS = 3, 8


def draw() -> dict[str, Drawing]:
    """Draw both pictures, by the names of their files.

    Raises:
        ValueError: If matplotlib is not installed.
    """
    saliency, collapse = canvas(10, 4.1), canvas(12, 4.9)
    left, right = _panels(saliency, 2)
    _draw_forward(Sketch(left, NETWORK, "Twelve weights, and one forward pass"))
    _draw_saliency(Sketch(right, NETWORK, "Their synaptic saliency"))
    dense, one_shot, in_steps = _panels(collapse, 3)
    _draw_averages(Sketch(dense, WIDE, "24 weights of 1, and their scores"))
    _draw_counts(Sketch(one_shot, WIDE, "One shot: keep 8"), masks_of_wide(1))
    _draw_counts(Sketch(in_steps, WIDE, "Algorithm 1 in 8 steps: keep 8"), masks_of_wide(STEPS))
    pictures = {"figure0-saliency": saliency, "figure0-collapse": collapse}
    return {name: Drawing(picture, [], []) for name, picture in pictures.items()}


def masks_of_wide(steps: int) -> Masks:
    """Return the masks of the second picture, in one shot or in several steps."""
    return synflow_prune(WIDE, COMPRESSION, steps)


def _panels(figure, columns: int) -> list:
    grid = figure.add_gridspec(
        1, columns, left=0.01, right=0.99, top=0.92, bottom=0.01, wspace=0.02
    )
    return [figure.add_subplot(place) for place in grid]


def _draw_forward(sketch: Sketch) -> None:
    trace = forward(NETWORK, ONES)
    hidden = zip(trace.preactivations[0][0], trace.inputs[1][0], strict=True)
    columns = (ONES[0], [f"{z} → {a}" for z, a in hidden], trace.output[0])
    for layer, column in enumerate(columns):
        for i, value in enumerate(column):
            sketch.beside(layer, i, str(value))
    draw_weights(sketch, NETWORK)
    sketch.below("neurons: input;  z → ReLU(z);  output", 0.92)


def _draw_saliency(sketch: Sketch) -> None:
    """Draw saliency on the weights, in = out at hidden neurons, and the total of each cut."""
    S = synaptic_saliency(NETWORK, ONES, ONES)
    ((S_in, S_out),) = theorem_1(NETWORK, ONES, ONES)
    for i, (into, out) in enumerate(zip(S_in, S_out, strict=True)):
        sketch.beside(1, i, f"in {into} = out {out}")

    def style(saliency: int) -> dict:
        color = DARK if saliency == 0 else BLUE if saliency < 0 else SYNFLOW
        dashes = "-" if saliency > 0 else DASHES
        width = max(0.9, 0.55 * abs(saliency))
        return {"color": color, "linestyle": dashes, "linewidth": width, "zorder": 2}

    sketch.lines(S, all_kept(NETWORK), style)
    sketch.neurons(SYNFLOW)
    _, at_inputs, at_outputs = theorem_2(NETWORK, ONES, ONES, all_kept(NETWORK))
    sketch.totals([at_inputs, S_in.sum(), at_outputs], [layer.sum() for layer in S])
    sketch.below("last line: the total over every cut", 0.92)


def _draw_averages(sketch: Sketch) -> None:
    S = synflow_scores(WIDE)
    sketch.lines(S, all_kept(WIDE), score_style(WIDE))
    sketch.neurons()
    for x, layer in enumerate(S):
        words = f"{layer.sum()} / {layer.size} = {layer.mean():.0f}"
        sketch.text(x + 0.5, sketch.bottom - 0.5, words, SYNFLOW, fontweight="bold")
    sketch.below("total / size = average score", 0.8)


def _draw_counts(sketch: Sketch, masks: Masks) -> None:
    draw_left(sketch, WIDE, masks)
    for x, mask in enumerate(masks):
        sketch.text(x + 0.5, sketch.bottom - 0.5, f"{mask.sum()} left", size=10)
