"""The network that SynFlow scores: |theta| for theta, no shifts, a positive linear skeleton.

With weights that are not negative and an input of ones, its output is the sum over all paths of
the product of |theta| along the path (Eq. 5). `skeleton` states how each operation is read.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from prune.enforce import emptied
from prune.losses import outputs_of
from prune.masks import Masks, masked
from prune.probe import Call, Probe, ones
from prune.scoring import Tensors, differentiated, output, undisturbed
from prune.skeleton import Positive, Readings
from prune.weights import Place, places

FLOWS = ("synflow", "synflow-l2")  # the scores with a conserved R (Theorem 2)


def is_shift(name: str) -> bool:
    """Return True for the names of biases and running means, which add to a stream."""
    leaf = name.rpartition(".")[2]
    return leaf.endswith("bias") or leaf == "running_mean" or leaf.startswith("bias_")


def reading(model: nn.Module, dtype: torch.dtype, power: int = 1) -> Tensors:
    """Return all floating tensors of a model by name, as SynFlow reads them.

    They are |theta|^power for parameters, absolute values for buffers, and 0 for biases and running
    means. A parameter that is 0 throughout, such as a zero-initialised last layer, is read as 1. A
    weight that is computed from a trained parameter (weight_norm, spectral_norm) is read as it is
    computed now, under the name of that parameter.
    """
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    matrices = {n: t.detach() for n, t in named.items() if t.is_floating_point()} | computed(model)
    read = {name: t.to(dtype, copy=True).abs_() for name, t in matrices.items()}
    trained = {name for name, _ in model.named_parameters()}
    for name, t in read.items():
        if is_shift(name):
            t.zero_()
        elif power != 1 and name in trained:
            t.pow_(power)
    for name in zeros(model):
        read[name].fill_(1)
    return read


@torch.no_grad()
def computed(model: nn.Module) -> Tensors:
    """Return the matrices that are computed from a trained parameter, by its name."""
    return {place.name: _matrix(place).detach() for place in places(model) if place.computed}


def _matrix(place: Place) -> Tensor:
    """Return the matrix of a layer as it is computed now."""
    for hook in place.layer._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm):
            return hook.compute_weight(place.layer, do_power_iteration=False)
        if isinstance(hook, WeightNorm):
            return hook.compute_weight(place.layer)
        if isinstance(hook, BasePruningMethod):
            return hook.apply_mask(place.layer)
    return getattr(place.layer, place.attribute)


def zeros(model: nn.Module) -> list[str]:
    """Return the names of parameters that are 0 throughout and are no biases.

    Weights that the masks of `apply` empty are not among them.
    """
    return [
        name
        for name, p in model.named_parameters()
        if p.is_floating_point() and not is_shift(name) and not p.any() and not emptied(model, name)
    ]


class Pass(NamedTuple):
    """The result of one pass of the positive linear skeleton."""

    outputs: list[Tensor]  # the floating outputs that depend on the input, each (batch, ...)
    entries: list[Tensor]  # where the input enters: floating inputs, embeddings of ids
    read: Readings  # how operations were read
    scale: int  # of the probe

    @property
    def R(self) -> Tensor:
        """R = 1^T y (Eq. 5), the sum of all outputs times 2^-scale, as a tensor ()."""
        return summed(self.outputs, self.scale)


def summed(outputs: Iterable[Tensor], scale: int) -> Tensor:
    """Return the sum of all outputs times 2^-scale, a tensor ()."""
    return reduce(torch.add, [(y * 2.0**-scale if scale else y).sum() for y in outputs])


def positive_pass(
    model: nn.Module,
    theta: Tensors,
    call: Call,
    outside: AbstractContextManager[object] | None = None,
    inside: AbstractContextManager[object] | None = None,
    hold: Callable[[Tensor], Tensor] = torch.clone,
    scale: int = 0,
) -> Pass:
    """Run the positive linear skeleton of the network.

    Args:
        model: In eval mode, as `undisturbed` sets it.
        theta: All of its floating tensors by name, as `reading` returns them, masked.
        call: The input, for example `ones`.
        outside: A mode that gets each function after `Positive`, as it is read.
        inside: A mode that gets each function before `Positive`.
        hold: Makes what the network gets of each floating input, which it may change in place.
        scale: Of the probe that `call` was made from.

    Raises:
        ValueError: If the model itself raises an error, or no output depends on the input.
    """
    mode = Positive(theta.values())
    dtype = next(iter(theta.values())).dtype
    modes = [one for one in (outside, mode, inside) if one is not None]
    result = output(model, theta, mode.entered(call, hold), dtype, direct=True, modes=modes)
    found = [y for y in outputs_of(result) if mode.is_stream(y)]
    if not found:
        raise ValueError("the model cannot be scored: no output depends on the input by a gradient")
    return Pass(found, mode.entries, mode.read, scale)


def flow_at_ends(model: nn.Module, masks: Masks, probe: Probe) -> tuple[float, float]:
    """Return <dR/dx, x> and <dR/dy, y> = R, which are equal in homogeneous networks (Theorem 2).

    For ids of tokens, x is what their embedding returns.
    """
    with undisturbed(model):
        theta = masked(reading(model, probe.dtype, probe.power), masks)
        run = positive_pass(model, theta, ones(model, probe), scale=probe.scale)
        R = run.R
        flows = zip(differentiated(R, run.entries), run.entries, strict=True)
        return sum((dR_dx * x).sum().item() for dR_dx, x in flows), R.item()
