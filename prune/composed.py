"""Operations that torch cannot differentiate twice, or not compute in float64, in other words."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Composed(TorchFunctionMode):
    """Compute some operations from others, for scores that read data.

    GraSP takes second derivatives, which hardsigmoid and hardswish lack. Fake quantisation exists
    in float32 only.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` or its replacement."""
        kwargs = kwargs or {}
        if func in SINGLE:
            return func(*map(_single, args), **kwargs).to(args[0].dtype)
        return COMPOSED.get(func, func)(*args, **kwargs)


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    return F.hardtanh(input + 3, 0, 6) / 6


def _hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    return input * _hardsigmoid(input)


def _single(value: Any) -> Any:
    """Return a floating tensor as float32, and any other value as it is."""
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


COMPOSED: dict[Callable[..., Any], Callable[..., Any]] = {
    F.hardsigmoid: _hardsigmoid,
    F.hardswish: _hardswish,
    torch._C._nn.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardswish: _hardswish,
}
SINGLE: set[Callable[..., Any]] = {
    torch.fused_moving_avg_obs_fake_quant,
    torch.fake_quantize_per_tensor_affine,
    torch.fake_quantize_per_channel_affine,
}
