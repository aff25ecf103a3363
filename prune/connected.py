"""Layer-collapse (Sec. 3): paths of kept weights from input to output."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from prune.masks import Masks, check_masks, masked
from prune.positive import Pass, computed, is_shift, positive_pass, reading
from prune.probe import Probe, ones
from prune.scoring import Tensors, gradients, leaves, undisturbed
from prune.skeleton.rules import WEIGHTED
from prune.weights import prunable

SMALL = 2.0**-16  # a weight, so small that longer paths count for nothing


def connected(model: nn.Module, masks: Masks, probe: Probe | tuple[int, ...]) -> bool:
    """Return True if a path of kept weights leads from an input to an output.

    The network is run as SynFlow reads it (`skeleton`), on ones, with equal positive weights and
    biases of 0 (R > 0 of Eq. 5). The output of each layer is cut to 0 or 1, so it cannot overflow
    or vanish. False means layer-collapse (Sec. 3) in any network; an empty tensor means it only
    where a layer is a cut.

    Args:
        model: Read, not changed.
        masks: name -> bool tensor, True = kept; weights without a mask count as kept.
        probe: The input, or the shape of one example without the batch.

    Returns:
        True if an output is positive.

    Raises:
        ValueError: If a mask fits no weight of the model, or the model cannot be run.
    """
    with undisturbed(model):
        _, run = _unit_pass(model, masks, probe)
        return any(bool((y > 0).any()) for y in run.outputs)


def effective(model: nn.Module, masks: Masks, probe: Probe | tuple[int, ...]) -> dict[str, Tensor]:
    """Return the masks of the kept weights that lie on a path from input to output.

    The others are dead: removing them changes neither R nor, without biases, the network.

    Args:
        model: Read, not changed.
        masks: name -> bool tensor, True = kept.
        probe: The input, or the shape of one example without the batch.

    Returns:
        name -> bool tensor, True only where `masks` is True.

    Raises:
        ValueError: As `connected` does.
    """
    with undisturbed(model):
        theta, run = _unit_pass(model, masks, probe)
        flow = gradients(run.R, theta, masks)
    return {name: mask & (flow[name] * theta[name] > 0) for name, mask in masks.items()}


def fewest(model: nn.Module, probe: Probe | tuple[int, ...]) -> int:
    """Return the least number of weights that leave a path open: those on a shortest path.

    N over it is the largest compression that any mask can reach (Sec. 3): L in a chain of L layers,
    fewer where shortcuts pass layers by. With all weights t, R (Eq. 5) is the sum of t^l over the
    paths of l weights. Its mean l is the sum of the scores over R, and tends to the least l with t.

    Args:
        model: Read, not changed.
        probe: The input, or the shape of one example without the batch.

    Raises:
        ValueError: If no path is open, or a shortest one is too long for float64 (over 60 weights).
    """
    given = probe if isinstance(probe, Probe) else Probe(probe)
    weights = prunable(model)
    with undisturbed(model):
        units = _units(model, torch.float64)
        theta = leaves(units | {name: SMALL * units[name] for name in weights}, weights)
        R = positive_pass(model, theta, ones(model, replace(given, dtype=torch.float64, scale=0))).R
        if R.item() == 0:
            raise ValueError("no path is open, or the shortest has too many weights to count them")
        flow = gradients(R, theta, weights)
        total = sum((flow[name] * theta[name]).sum().item() for name in weights)
    return round(total / R.item())


def _unit_pass(
    model: nn.Module, masks: Masks, probe: Probe | tuple[int, ...]
) -> tuple[Tensors, Pass]:
    """Run the network on ones with each kept weight positive, equal within its tensor."""
    check_masks(model, masks)
    given = probe if isinstance(probe, Probe) else Probe(probe)
    theta = leaves(masked(_units(model, torch.float32), masks), masks)
    call = ones(model, replace(given, dtype=torch.float32, scale=0))
    return theta, positive_pass(model, theta, call, inside=Paths())


def _units(model: nn.Module, dtype: torch.dtype) -> Tensors:
    """Return the floating tensors of a model with equal positive numbers in each."""
    read = reading(model, dtype)
    units = {name: _unit(name, t) for name, t in read.items()}
    for name in computed(model):  # 0 where torch.nn.utils.prune masks it
        units[name] *= read[name] > 0
    return units


def _unit(name: str, t: Tensor) -> Tensor:
    """Return 1 over the inputs of an output for each weight, so that no long sum overflows."""
    inputs = t[0].numel() if t.dim() > 1 and len(t) else 1
    return torch.full_like(t, 0 if is_shift(name) else 1 / max(1, inputs))


class Reached(torch.autograd.Function):
    """Cut a stream to 1 where it is positive and to 0 elsewhere, and its flow likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return 1 where x > 0."""
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *flows: Tensor) -> Tensor:
        """Return 1 where the flow is positive."""
        return (flows[0] > 0).to(flows[0].dtype)


def _mean_of(mean: Callable[..., Tensor], maximum: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function with the arguments of max pooling that takes the mean of each window."""

    def pool(
        x: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        if return_indices or torch.as_tensor(dilation).max() > 1:
            return maximum(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return mean(x, kernel_size, stride, padding, ceil_mode)

    return pool


def _adaptive_mean_of(mean: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function with the arguments of adaptive max pooling that takes the mean."""
    return lambda x, output_size, return_indices=False: mean(x, output_size)


MEANS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.max_pool1d: _mean_of(F.avg_pool1d, F.max_pool1d),
    F.max_pool2d: _mean_of(F.avg_pool2d, F.max_pool2d),
    F.max_pool3d: _mean_of(F.avg_pool3d, F.max_pool3d),
    F.adaptive_max_pool1d: _adaptive_mean_of(F.adaptive_avg_pool1d),
    F.adaptive_max_pool2d: _adaptive_mean_of(F.adaptive_avg_pool2d),
    F.adaptive_max_pool3d: _adaptive_mean_of(F.adaptive_avg_pool3d),
}


class Paths(TorchFunctionMode):
    """Cut the results of weighted functions; take means of windows in place of their maxima.

    A maximum has one path only, and a mean has all.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` or its replacement; cut the result of weighted functions."""
        out = MEANS.get(func, func)(*args, **(kwargs or {}))
        return Reached.apply(out) if func in WEIGHTED and isinstance(out, Tensor) else out
