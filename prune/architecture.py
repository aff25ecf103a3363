"""The Synaptic Flow that an architecture has on average, before any weight is drawn.

R is linear in each |weight| alone, so its mean over independent weights is R of the mean weights.
These are equal within each layer. So no weight, no seed and no large number is needed.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from math import isfinite, log, pi, prod, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from prune.positive import Pass, is_shift, positive_pass
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
        deviation: The relative standard deviation of R from draw to draw that single weights make
            if all entries of a weight count alike; the true one is larger.
        bounds: The reasons why log_R is a lower bound of log E[R] and not equal to it: maxima, and
            weights that are used more than once. Empty otherwise.
    """

    log_R: float | None
    layers: dict[str, float]
    deviation: float | None
    bounds: tuple[str, ...]

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


def kaiming_normal(name: str, shape: torch.Size) -> Moments:
    """Return the moments of N(0, 2 / fan_in), the initial weights of the paper (App. 12.2)."""
    variance = 2 / fan_in(shape)
    return sqrt(variance * 2 / pi), variance


def uniform(name: str, shape: torch.Size) -> Moments:
    """Return the moments of U(-b, b), b^2 = 1 / fan_in, PyTorch's own initial weights."""
    return 1 / (2 * sqrt(fan_in(shape))), 1 / (3 * fan_in(shape))


INITS: dict[str, Init] = {"paper": kaiming_normal, "torch": uniform}


def architecture_flow(
    network: nn.Module | Callable[[], nn.Module], example: Any, init: str | Init = "paper"
) -> ArchitectureFlow:
    """Return the mean Synaptic Flow of a network over its initial weights, in closed form.

    The network is read as `synaptic_flow` reads it. The weights of `prunable` are drawn. Biases are
    0; scales of normalisations and running variances are 1. Other parameters keep their magnitude,
    and are 1 on the meta device. There is one forward and one backward pass on one channel a layer;
    no tensor of weights is made.

    Args:
        network: A network on any device, also meta; or a function that makes it, which is called
            on the meta device. Not changed.
        example: A Probe, the shape of one example without the batch, or what the network is called
            with.
        init: "paper" (Kaiming normal), "torch" (PyTorch's own), or a function that returns the
            means of |weight| and weight^2 for a name and a shape.

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
        theta = _floating(model) | equal
        run = positive_pass(model, theta, ones(model, _probe(example)), mode, hold=mode.hold)
        R, power = mode.total(run.outputs)
        slopes = differentiated(R, list(means.values()))
    flows = [(slope * m).item() for slope, m in zip(slopes, means.values(), strict=True)]
    found = _result(R.item(), power, dict(zip(shapes, flows, strict=True)))
    deviation = None if found.log_R is None else _deviation(found.layers, drawn, shapes)
    return found._replace(deviation=deviation, bounds=_bounds(mode, run))


def _result(R: float, power: int, flows: dict[str, float]) -> ArchitectureFlow:
    """Return the logarithms of R 2^power, and each weight's part of R.

    Raises:
        FloatingPointError: If R is not finite.
    """
    if not isfinite(R):
        raise FloatingPointError(
            f"the mean flow leaves the range of float64 within one function: {R:g} times "
            f"2^{power}; does the init return means that are too large?"
        )
    if R == 0:
        return ArchitectureFlow(None, dict.fromkeys(flows, 0.0), None, ())
    layers = {name: flow / R for name, flow in flows.items()}
    return ArchitectureFlow(log(R) + power * log(2), layers, None, ())


def _deviation(
    layers: dict[str, float], drawn: dict[str, Moments], shapes: dict[str, torch.Size]
) -> float:
    """Return the relative standard deviation of R that single weights make, of equal scores."""
    variance = 0.0
    for name, (first, second) in drawn.items():
        if first > 0:
            variance += (second / first / first - 1) * layers[name] ** 2 / shapes[name].numel()
    return sqrt(max(0.0, variance))


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


def hollow(network: nn.Module) -> nn.Module:
    """Return a copy of a network on the CPU in float64, in which no weight of a layer takes memory.

    Weights to draw and scales of normalisations are 1, and biases 0, as views of one number.
    """
    tensors: list[Tensor] = list(prunable(network).values())
    for module in network.modules():
        if "Norm" in type(module).__name__:
            tensors += [*module.parameters(False), *module.buffers(False)]
    set_to_one, memo = {id(t) for t in tensors}, _computed(network)
    for name, p in network.named_parameters():
        stand_in = _stand_in(name, p, id(p) in set_to_one)
        memo[id(p)] = nn.Parameter(stand_in, stand_in.is_floating_point())
    for name, buffer in network.named_buffers():
        memo[id(buffer)] = _stand_in(name, buffer, id(buffer) in set_to_one)
    return deepcopy(network, memo)


def _computed(network: nn.Module) -> dict[int, Any]:
    """Return the tensors that hooks compute from parameters by id, without their graphs.

    Raises:
        ValueError: If a layer is scripted: its functions cannot be followed.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ValueError("the network has scripted layers; give it as it was before torch.jit")
    values = (value for module in network.modules() for value in vars(module).values())
    return {id(t): t.detach() for t in values if isinstance(t, Tensor) and not t.is_leaf}


def _stand_in(name: str, t: Tensor, set_to_one: bool) -> Tensor:
    """Return the tensor that a hollow network has in place of t."""
    if not t.is_floating_point():
        return torch.zeros_like(t, device="cpu") if t.is_meta else t.detach().cpu()
    known = not (set_to_one or t.is_meta or is_shift(name))
    if known and t.any():
        return t.detach().to("cpu", torch.float64).abs()
    return torch.tensor(float(not is_shift(name)), dtype=torch.float64).expand(t.shape)


def _floating(model: nn.Module) -> dict[str, Tensor]:
    """Return the floating parameters and buffers of a model by name."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: t.detach() for name, t in named.items() if t.is_floating_point()}


def _bounds(mode: Powers, run: Pass) -> tuple[str, ...]:
    """Return the reasons why R at the mean weights is below the mean R."""
    again = any(n > 1 for n in mode.uses.values()) or "open gates" in {how for _, how in run.read}
    return (*sorted(mode.maxima), *(["weights used more than once"] if again else []))
