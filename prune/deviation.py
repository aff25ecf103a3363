"""The deviation of R from its mean, from draw to draw of initial weights.

A weight is its mean plus a part of mean 0, and R is linear in each weight alone. So the parts that
the weights of one layer add to its outputs are correlated with nothing that came before, and their
covariance needs the second moments of what the layer reads, no more. Nothing is drawn.
"""

from collections.abc import Callable, Mapping
from math import log, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from prune.positive import positive_pass
from prune.powers import Powers, arguments
from prune.probe import Call, is_floating
from prune.scoring import Tensors
from prune.skeleton import RULES, WEIGHTED
from prune.skeleton.roles import in_place

LARGEST = 2**24  # entries of all streams with all their rows
UNITS = {func for func, rule in RULES.items() if rule is RULES[F.relu]}


class Covariance(Powers):
    """Follow the mean of each stream in row 0 of the batch, and its covariance in the other rows.

    The covariance of two entries is the sum over these rows of their products. A layer maps all
    rows by its mean weights, and adds rows of its own.

    Attributes:
        spread: Weight -> the standard deviation of its entries.
        rows: The length of the batch. A layer that reads another one is not drawn.
        drawn: The weights whose rows were added.
        row: The first row that no layer has used.
    """

    def __init__(self, uniform: Mapping[Tensor, Tensor], spread: Mapping[Tensor, float], rows: int):
        """Take the tensors with equal means: that mean, a tensor (), and the deviation from it."""
        super().__init__(uniform)
        self.rows = rows
        self.spread = WeakTensorKeyDictionary(dict(spread))
        self.drawn: set[int] = set()
        self.row = 1

    def _call(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Call `func`; units are open, as their streams are not negative in any network."""
        if func in UNITS:
            x = args[0] if args else kwargs["input"]
            return x if in_place(func) else x.clone()
        y = super()._call(func, args, kwargs)
        known = func in WEIGHTED and len(args) > 1 and args[1] in self.entry
        if known and len(args[0]) == self.rows:
            self._draw(y, read(func, *args, **kwargs) * self.spread[args[1]], args[1].dim() == 2)
            self.drawn.add(id(args[1]))
        return y

    def _draw(self, y: Tensor, x: Tensor, linear: bool) -> None:
        """Add rows to y for the weights of a layer, of which x is what they read, times spread."""
        values, vectors = torch.linalg.eigh(torch.einsum("rgnp,rgnq->gpq", x, x))
        root = (vectors * values.clamp(min=0).sqrt()[:, None]).mT  # group, row, position
        outputs = y.shape[-1 if linear else 1]
        root = root.repeat_interleave(outputs // len(root), 0)
        own = torch.eye(outputs, dtype=y.dtype)[:, None, :, None] * root[:, :, None]
        rows = (own.mT if linear else own).reshape(-1, *y.shape[1:])
        y[self.row : self.row + len(rows)] += rows
        self.row += len(rows)


def read(func: Callable[..., Tensor], x: Tensor, W: Tensor, *rest: Any, **named: Any) -> Tensor:
    """Return what the weights of an output read: (row, group, weight, position of the output)."""
    x = x.detach()
    if W.dim() == 2:
        return x.reshape(len(x), -1, x.shape[-1]).mT[:, None]
    named, kernel = arguments(func, rest, named), W.shape[2:]
    one_each = torch.eye(kernel.numel(), dtype=x.dtype).unflatten(1, kernel)
    one_each = one_each[None] if "transpose" in func.__name__ else one_each[:, None]
    y = func(x.flatten(0, 1)[:, None], one_each, **{**named, "groups": 1})
    return y.reshape(len(x), named["groups"], -1, y[0, 0].numel())


def exact(
    model: nn.Module,
    theta: Tensors,
    call: Call,
    means: Mapping[str, Tensor],
    spread: Mapping[str, float],
    units: int,
) -> tuple[float, float] | None:
    """Return log E[R] and the relative standard deviation of R; None if they cannot be followed.

    Args:
        model: In eval mode, as `undisturbed` sets it.
        theta: All of its floating tensors by name, as SynFlow reads them.
        call: One example of ones.
        means: Name of a weight -> the mean of its entries.
        spread: Name of a weight -> their standard deviation, 0 for weights without flow.
        units: The outputs of all layers.
    """
    mode = Covariance(
        {theta[name]: mean for name, mean in means.items()},
        {theta[name]: spread[name] for name in means},
        1 + units,
    )
    rows = call.map(
        lambda x: torch.cat([x, x.new_zeros(units, *x.shape[1:])]) if is_floating(x) else x
    )
    try:
        run = positive_pass(model, theta, rows, mode, hold=mode.hold)
    except ValueError:  # code for one example at a time
        return None
    all_drawn = all(id(theta[name]) in mode.drawn for name, s in spread.items() if s > 0)
    if not all_drawn or any(len(y) != mode.rows for y in run.outputs):
        return None
    outputs, power = mode.aligned(run.outputs)
    R, *parts = torch.stack([y.flatten(1).sum(1) for y in outputs]).sum(0).tolist()
    return log(R) + power * log(2), sqrt(sum(part * part for part in parts)) / R


def of_single_weights(
    layers: Mapping[str, float],
    means: Mapping[str, Tensor],
    spread: Mapping[str, float],
    shapes: Mapping[str, torch.Size],
) -> float:
    """Return the relative standard deviation of R that single weights make, of equal scores.

    Weights of other scores, and weights that move together, only add to it.

    Args:
        layers: Name of a weight -> its entries on a path.
        means: Name of a weight -> the mean of its entries, a tensor ().
        spread: Name of a weight -> their standard deviation, 0 for weights without flow.
        shapes: Name of a weight -> its shape.
    """
    parts = (
        (spread[name] / means[name].item() * share) ** 2 / shapes[name].numel()
        for name, share in layers.items()
        if share > 0
    )
    return sqrt(sum(parts))
