"""The Synaptic Flow that an architecture has on average, before any weight is drawn.

R is linear in each |weight| alone, so its mean over independent weights is R of the mean weights.
These are equal within each layer. So no weight, no seed and no large number is needed.
"""

from collections.abc import Callable
from dataclasses import replace
from math import isclose, isfinite, log, pi, prod, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from prune.deviation import LARGEST, exact, of_single_weights
from prune.hollow import hollow
from prune.positive import Pass, positive_pass, reading
from prune.powers import Powers
from prune.probe import Probe, ones
from prune.scoring import differentiated, undisturbed
from prune.weights import prunable

Moments = tuple[float, float]  # the means of |weight| and of weight^2
Init = Callable[[str, torch.Size], Moments]  # of the weights of this name and shape


class ArchitectureFlow(NamedTuple):
    """The mean Synaptic Flow over all initial weights. Logarithms are natural.

    Attributes:
        log_R: log of the mean of R; None if no path leads from input to output.
        layers: Name of a weight -> the mean number of its entries on a path, each path weighted by
            its strength. It is the mean sum of the scores of that weight over the mean of R.
        deviation: The relative standard deviation of R from draw to draw.
        exact: False if `deviation` is only what single weights make if all entries of a weight
            count alike. It is no larger than the true one where log_R is equal to log E[R].
        bounds: The reasons why log_R is a lower bound of log E[R] and not equal to it: maxima,
            norms, and weights that are used more than once. Empty otherwise.
        orders: The reasons why log_R may lie on either side: minima, medians and other orders.
    """

    log_R: float | None
    layers: dict[str, float]
    deviation: float | None
    exact: bool
    bounds: tuple[str, ...]
    orders: tuple[str, ...]

    @property
    def path_length(self) -> float | None:
        """The mean number of weights on a path: L in a chain of L layers."""
        return None if self.log_R is None else sum(self.layers.values())

    @property
    def log_score(self) -> float | None:
        """The log of the mean sum of all scores, which is R times the path length."""
        return None if self.log_R is None else self.log_R + log(sum(self.layers.values()))

    @property
    def modules(self) -> dict[str, float]:
        """The mean number of weights on a path in each top-level module, by its name."""
        found: dict[str, float] = {}
        for name, share in self.layers.items():
            top = name.partition(".")[0]
            found[top] = found.get(top, 0.0) + share
        return found


def fan_in(shape: torch.Size) -> int:
    """Return the number of weights that an output reads, as torch.nn.init counts them."""
    return prod(shape[1:])


def normal(variance: float) -> Moments:
    """Return the moments of N(0, variance)."""
    return sqrt(variance * 2 / pi), variance


def kaiming_normal(name: str, shape: torch.Size) -> Moments:
    """Return the moments of N(0, 2 / fan_in), the initial weights of the paper (App. 12.2)."""
    return normal(2 / fan_in(shape))


def kaiming_normal_fan_out(name: str, shape: torch.Size) -> Moments:
    """Return the moments of N(0, 2 / fan_out), as torch.nn.init counts it."""
    return normal(2 / (shape[0] * prod(shape[2:])))


def uniform(name: str, shape: torch.Size) -> Moments:
    """Return the moments of U(-b, b), b^2 = 1 / fan_in, PyTorch's own initial weights."""
    return 1 / (2 * sqrt(fan_in(shape))), 1 / (3 * fan_in(shape))


INITS: dict[str, Init] = {
    "paper": kaiming_normal,
    "fan_out": kaiming_normal_fan_out,
    "torch": uniform,
}


def architecture_flow(
    network: nn.Module | Callable[[], nn.Module], example: Any, init: str | Init = "paper"
) -> ArchitectureFlow:
    """Return the mean Synaptic Flow of a network over its initial weights, in closed form.

    The network is read as `synaptic_flow` reads it. The weights of `prunable` are drawn. Biases are
    0; scales of normalisations and running variances are 1. Other parameters keep their magnitude,
    and are 1 on the meta device. There is one forward and one backward pass on one channel a layer;
    no tensor of weights is made. One more pass makes the deviation exact where the network is small
    enough to follow the covariance of all outputs of its layers.

    Args:
        network: A network on any device, also meta; or a function that makes it, which is called
            on the meta device. Not changed.
        example: A Probe, the shape of one example without the batch, or what the network is called
            with.
        init: "paper" (Kaiming normal), "fan_out" (the same by fan_out), "torch" (PyTorch's own), or
            a function that returns the means of |weight| and weight^2 for a name and a shape.

    Raises:
        ValueError: If the init is unknown, or the network has no layer or cannot be run.
        FloatingPointError: If a flow leaves the range of float64 within one function.
    """
    moments = _moments(init)
    given = network if isinstance(network, nn.Module) else _made(network)
    shapes = {name: weight.shape for name, weight in prunable(given).items()}
    drawn = {name: moments(name, shape) for name, shape in shapes.items()}
    means = {name: _number(first) for name, (first, _) in drawn.items()}
    equal = {name: means[name].expand(shape) for name, shape in shapes.items()}
    model, mode = hollow(given), Powers({equal[name]: means[name] for name in shapes})
    with undisturbed(model):
        theta, call = _floating(model) | equal, ones(model, _probe(example))
        run = positive_pass(model, theta, call, mode, hold=mode.hold)
        found = _result(mode, run, means)
        log_R = found.log_R
        if log_R is None:
            return found
        spread = {n: _spread(*drawn[n]) if share > 0 else 0.0 for n, share in found.layers.items()}
        found = found._replace(deviation=of_single_weights(found.layers, means, spread, shapes))
        if found.bounds or found.orders or (1 + mode.units) * mode.entries > LARGEST:
            return found
        followed = exact(model, theta, call, means, spread, mode.units)
    if followed is None or not isclose(followed[0], log_R, rel_tol=1e-9, abs_tol=1e-9):
        return found
    return found._replace(deviation=followed[1], exact=True)


def log_flow(network: nn.Module, example: Any) -> float | None:
    """Return log R of the weights that a network has, at any depth; None if there is no path.

    Args:
        network: Read as `synaptic_flow` reads it. Not changed.
        example: As for `architecture_flow`.
    """
    mode = Powers({})
    with undisturbed(network):
        theta, call = reading(network, torch.float64), ones(network, _probe(example))
        run = positive_pass(network, theta, call, mode, hold=mode.hold)
        R, power = mode.total(run.outputs)
    return _log(R.item(), power)


def _result(mode: Powers, run: Pass, means: dict[str, Tensor]) -> ArchitectureFlow:
    """Return the mean flow, without its deviation."""
    R, power = mode.total(run.outputs)
    log_R, reasons = _log(R.item(), power), (_bounds(mode, run), tuple(sorted(mode.orders)))
    if log_R is None:
        return ArchitectureFlow(None, dict.fromkeys(means, 0.0), None, False, *reasons)
    slopes = differentiated(R, list(means.values()))
    flows = zip(means.items(), slopes, strict=True)
    layers = {name: (slope * m / R).item() for (name, m), slope in flows}
    return ArchitectureFlow(log_R, layers, None, False, *reasons)


def _log(R: float, power: int) -> float | None:
    """Return the log of R 2^power, None for 0.

    Raises:
        FloatingPointError: If R is not finite.
    """
    if not isfinite(R):
        raise FloatingPointError(
            f"the flow leaves the range of float64 within one function: {R:g} times 2^{power}; are "
            "the weights, or the means that the init returns, too large?"
        )
    return log(R) + power * log(2) if R > 0 else None


def _spread(first: float, second: float) -> float:
    """Return the standard deviation of |weight|."""
    return sqrt(max(0.0, second - first * first))


def _moments(init: str | Init) -> Init:
    """Return the init of this name, or the function itself."""
    if callable(init):
        return init
    if init not in INITS:
        raise ValueError(f"init must be one of {', '.join(INITS)} or a function, not {init!r}")
    return INITS[init]


def _number(value: float) -> Tensor:
    """Return a tensor () that collects a gradient."""
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def _probe(example: Any) -> Probe:
    """Return the probe of an example in any of its forms."""
    if isinstance(example, Probe):
        return replace(example, dtype=torch.float64, power=1)
    if isinstance(example, tuple) and all(isinstance(n, int) for n in example):
        return Probe(example)
    return Probe(example=example)


def _made(make: Callable[[], nn.Module]) -> nn.Module:
    """Call a function on the meta device, where weights take no memory."""
    try:
        with torch.device("meta"):
            network = make()
    except Exception as error:  # the user's function may raise any kind
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the function makes no network on the meta device ({reason}); give the network itself"
        ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"the function made a {type(network).__name__}, not a torch.nn.Module")
    return network


def _floating(model: nn.Module) -> dict[str, Tensor]:
    """Return the floating parameters and buffers of a model by name."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: t.detach() for name, t in named.items() if t.is_floating_point()}


def _bounds(mode: Powers, run: Pass) -> tuple[str, ...]:
    """Return the reasons why R at the mean weights is below the mean R."""
    again = any(n > 1 for n in mode.uses.values()) or "open gates" in {how for _, how in run.read}
    return (*sorted(mode.maxima), *(["weights used more than once"] if again else []))
