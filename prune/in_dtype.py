"""Run a model in one floating dtype, whatever casts and constants of its own it has."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


class InDtype(TorchFunctionMode):
    """Compute in one floating dtype: casts and constants of the model's own follow it."""

    def __init__(self, dtype: torch.dtype):
        """Take the dtype."""
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func` with floating dtypes and tensors replaced, and its result too."""
        kwargs = kwargs or {}
        if func in LOOKUPS:
            return func(*args, **kwargs)
        if func in CASTS:
            return args[0].to(self.dtype)
        if self.differ((*args, *kwargs.values())):
            first = args[:1] if getattr(func, "__name__", "").endswith("_") else ()
            rest = tree_map(self.cast, args[len(first) :])
            args, kwargs = (*first, *rest), tree_map(self.cast, kwargs)
        out = func(*args, **kwargs)
        changed = isinstance(out, Tensor) and self.differ((out,)) and not _is_in(out, args)
        return out.to(self.dtype) if changed else out

    def differ(self, values: Iterable[Any]) -> bool:
        """Return True if a dtype or a floating tensor among the values is of another dtype."""
        with torch._C.DisableTorchFunction():  # other modes need not see what is looked up here
            return any(self._differs(value) for value in values)

    def _differs(self, value: Any) -> bool:
        if isinstance(value, Tensor):
            return value.dtype != self.dtype and value.is_floating_point()
        if isinstance(value, list | tuple):
            return any(map(self._differs, value))
        return isinstance(value, torch.dtype) and value != self.dtype and value.is_floating_point

    def cast(self, value: Any) -> Any:
        """Return a floating tensor or dtype as this dtype, and any other value as it is."""
        if not self.differ((value,)):
            return value
        return self.dtype if isinstance(value, torch.dtype) else value.to(self.dtype)


def _is_in(out: Tensor, args: Iterable[Any]) -> bool:
    return any(out is value for value in args)


# Functions that look at a tensor and compute nothing; most calls are of these.
LOOKUPS: set[Any] = {
    Tensor.shape.__get__,  # type: ignore[attr-defined]
    Tensor.dtype.__get__,  # type: ignore[attr-defined]
    Tensor.device.__get__,
    Tensor.requires_grad.__get__,  # type: ignore[attr-defined]
    Tensor.is_floating_point,
    Tensor.dim,
    Tensor.size,
    Tensor.numel,
}
CASTS = {Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set the dtype of floating tensors that are made without one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
