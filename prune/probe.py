"""The data that a score may read, and the call of the model that they make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class Probe:
    """The data that a score may read besides the network itself.

    Attributes:
        input_shape: Shape of one example without the batch, e.g. (3, 32, 32).
        batches: (inputs, targets), for scores that read data; inputs in the forms of `example`.
        generator: Of random numbers, for random scores; None: torch's own.
        dtype: Of the scores; `prune` sets it from `score_dtype`.
        example: The arguments that the model is called with, where one tensor of `input_shape` is
            not enough: a tensor with its batch, a tuple of arguments, or a dict of named ones.
            Values of floating tensors do not matter, since SynFlow puts ones in their place.
            Integers, such as the ids of tokens, stay.
        loss: (outputs, targets) -> tensor (), for scores that read data; `outputs` is the result of
            the model. None: cross-entropy of the logits, which `losses.logits_of` finds.
        batch_statistics: Let batch norm use the mean and variance of each batch in scores that read
            data, as SNIP's and GraSP's authors do. By definition it uses its running ones, as all
            scores are taken in eval mode.
        power: 1 for |theta| in SynFlow, 2 for theta^2; the score `synflow-l2` sets it.
        scale: SynFlow multiplies the input and the output by 2^-scale, so that R and all scores are
            4^-scale times those of Eq. 5 and 6. `prune` sets it where R leaves the range of `dtype`
            (App. 11); powers of two are exact.
    """

    input_shape: tuple[int, ...] | None = None
    batches: Sequence[tuple[Any, Any]] = ()
    generator: torch.Generator | None = None
    dtype: torch.dtype = torch.float64
    example: Any = None
    loss: Callable[[Any, Any], Tensor] | None = None
    batch_statistics: bool = False
    power: int = 1
    scale: int = 0

    def __post_init__(self) -> None:
        """Check the shape, if there is one."""
        try:
            _ = self.input_shape is None or [index(n) for n in self.input_shape]
        except TypeError:
            given = repr(self.input_shape)
            raise ValueError(
                f"input_shape must be the sizes of one example, such as (3, 32, 32), not {given}"
            ) from None


def changed(probe: Probe, **fields: Any) -> Probe:
    """Return the probe with other values of some fields.

    Raises:
        ValueError: If it is no Probe.
    """
    if not isinstance(probe, Probe):
        text = "the probe must be a Probe, such as Probe(input_shape=(3, 32, 32))"
        raise ValueError(f"{text}, not {probe!r}")
    return replace(probe, **fields)


class Call(NamedTuple):
    """The arguments of one call of a model."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def map(self, function: Callable[[Any], Any]) -> "Call":
        """Apply a function to each tensor or other value in the arguments."""
        return Call(*tree_map(function, tuple(self)))

    def floating(self) -> list[Tensor]:
        """Return the floating tensors among the arguments."""
        return [t for t in tree_leaves(tuple(self)) if is_floating(t)]


def call_of(inputs: Any) -> Call:
    """Return the call for a tensor, a tuple of arguments or a dict of named ones."""
    if isinstance(inputs, Mapping):
        return Call((), dict(inputs))
    return Call(tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,), {})


def ones(model: nn.Module, probe: Probe) -> Call:
    """Return the input of Eq. 5: 2^-scale (1) in place of floating numbers, in `probe.dtype`.

    Raises:
        ValueError: If the probe has no `example` and no `input_shape`.
    """
    device, value = device_of(model), 2.0**-probe.scale
    if probe.example is None:
        if probe.input_shape is None:
            raise ValueError("Probe needs the shape of an input: give input_shape= or example=")
        shape = (1, *probe.input_shape)
        return Call((torch.full(shape, value, dtype=probe.dtype, device=device),), {})

    def one(given: Any) -> Any:
        if is_floating(given):
            return torch.full(given.shape, value, dtype=probe.dtype, device=device)
        return given.to(device, copy=True) if isinstance(given, Tensor) else given

    return call_of(probe.example).map(one)


def batch_of(model: nn.Module, inputs: Any, dtype: torch.dtype) -> Call:
    """Return the call for a batch of data, as copies: inference tensors have no derivatives."""
    device = device_of(model)

    def copied(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype if value.is_floating_point() else value.dtype, copy=True)

    return call_of(inputs).map(copied)


def is_floating(value: object) -> bool:
    """Return True for floating tensors."""
    return isinstance(value, Tensor) and value.is_floating_point()


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter, where the input belongs."""
    return next(model.parameters()).device
