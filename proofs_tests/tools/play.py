"""Random networks, and what reference/ answers about them, as the text of play.js."""

import random
from fractions import Fraction
from itertools import pairwise, product

import numpy as np

from reference import theorems
from reference.corollaries import certified
from reference.mlp import Mlp
from reference.pruning import (
    all_kept,
    critical_compression,
    exponential,
    flat,
    keep_top,
    kept,
    masked,
    path_open,
    prune_steps,
    synflow_prune,
)
from reference.saliency import magnitude, synflow_objective, synflow_scores

ENTRIES = (
    [Fraction(n) for n in range(-9, 10)],
    [Fraction(n) for n in (-1, 0, 1)],  # ties, and networks without a path
    [Fraction(1)],
    [Fraction(p, q) for p in (-7, -2, -1, 1, 3, 5) for q in (1, 2, 3, 7)],
)


def network(weights: str) -> Mlp:
    """Read layers between |, neurons between ; and weights between , as fractions."""
    layers = [[row.split(",") for row in layer.split(";")] for layer in weights.split("|")]
    return Mlp(tuple(np.array([[Fraction(w) for w in row] for row in W]) for W in layers))


def written(layers) -> list[str]:
    return [str(Fraction(entry)) for entry in flat(layers)]


def weights_of(net: Mlp) -> str:
    rows = [[",".join(map(str, row)) for row in W] for W in net.weights]
    return "|".join(";".join(layer) for layer in rows)


def draw(count: int) -> list[dict]:
    """Draw networks of one to four layers, each with a count to keep and a number of steps."""
    drawn, cases = random.Random(23), []
    for _ in range(count):
        depth = drawn.randint(1, 4)
        widths = [drawn.randint(1, 5 - depth // 2) for _ in range(depth + 1)]
        entries = drawn.choice(ENTRIES)
        shapes = [(above, below) for below, above in pairwise(widths)]
        W = [[[drawn.choice(entries) for _ in range(m)] for _ in range(n)] for n, m in shapes]
        net = Mlp(tuple(np.array(layer) for layer in W))
        keep, steps = drawn.randint(1, kept(all_kept(net))), drawn.randint(1, 7)
        cases.append({"weights": weights_of(net), "keep": keep, "steps": steps})
    return cases


def flows(net: Mlp) -> tuple[list[list[str]], list[list[str]]]:
    """The strength of the paths below and above each neuron, from products of matrices."""
    W = magnitude(net)
    into, out = [np.ones(W[0].shape[1], object)], [np.ones(len(W[-1]), object)]
    for layer in W:
        into.append(layer @ into[-1])
    for layer in reversed(W):
        out.append(layer.T @ out[-1])
    return [written([f]) for f in into], [written([f]) for f in reversed(out)]


def closed_sets(net: Mlp):
    """All sets of neurons with all outputs and no input that are closed downstream."""
    widths = [len(W) for W in net.weights]
    dense = Mlp(tuple(np.ones_like(W) for W in net.weights))
    ends = np.zeros(net.weights[0].shape[1], bool), np.ones(widths[-1], bool)
    for hidden in product([False, True], repeat=sum(widths[:-1])):
        parts = np.split(np.array(hidden, bool), np.cumsum(widths[:-1]))[:-1]
        S = (ends[0], *parts, ends[1])
        closed = theorems.closed_downstream(dense, S)
        if all((a == b).all() for a, b in zip(S, closed)):
            yield S


def bits(masks) -> str:
    return "".join(str(int(m)) for m in flat(masks))


def steps_of(net: Mlp, pruned: list) -> list:
    """Prune size, cut size and outcome of any masks that nest."""
    rows = []
    for before, after in pairwise([all_kept(net), *pruned]):
        removed = flat(synflow_scores(masked(net, before)))[flat(before) & ~flat(after)].sum()
        size = synflow_objective(masked(net, before))
        rows.append([str(removed), str(size), path_open(masked(net, after))])
    return rows


def method(net: Mlp, pruned: list, refusal: str = "") -> dict:
    return {"masks": list(map(bits, pruned)), "refusal": refusal, "steps": steps_of(net, pruned)}


def until_refusal(net: Mlp, rho: Fraction) -> tuple[list, str]:
    masks = []
    try:
        for after in certified(net, rho):
            masks.append(after)
    except ValueError as error:
        return masks, str(error)
    return masks, ""


def methods(net: Mlp, keep: int, steps: int) -> dict:
    """The masks of the four methods, and for SynFlow the steps of `theorem_4` itself."""
    N, full = kept(all_kept(net)), all_kept(net)
    rho = Fraction(N, keep)
    counts = [exponential(N, rho, k, steps) for k in range(1, steps + 1)]
    in_steps = list(prune_steps(net, counts))
    assert bits(in_steps[-1]) == bits(synflow_prune(net, rho, steps))
    answers = {
        "one-shot": method(net, [keep_top(synflow_scores(net), full, keep)]),
        "magnitude": method(net, [keep_top(magnitude(net), full, keep)]),
        "algorithm-1": method(net, in_steps),
        "certified": method(net, *until_refusal(net, rho)),
    }
    rows = theorems.theorem_4(net, counts)
    assert answers["algorithm-1"]["steps"] == [[str(p), str(c), o] for p, c, o in rows]
    return answers


def critical(net: Mlp, scores) -> str:
    keeps = reversed(range(kept(all_kept(net))))
    return str(critical_compression(net, (keep_top(scores, all_kept(net), k) for k in keeps)))


def expected(case: dict) -> dict:
    """The answers of reference/ about one drawn network; its cuts are a sorted list."""
    net = network(case["weights"])
    scores = synflow_scores(net)
    into, out = flows(net)
    return {
        "weights": case["weights"],
        "R": str(synflow_objective(net)),
        "scores": written(scores),
        "flow_in": into,
        "flow_out": out,
        "cuts": sorted([bits(theorems.cut(S)), ""] for S in closed_sets(net)),
        "methods": methods(net, case["keep"], case["steps"]),
        "critical": [critical(net, scores), critical(net, magnitude(net))],
    }
