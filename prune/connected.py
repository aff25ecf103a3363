"""Layer-collapse (Sec. 3): the test for a path of kept weights from input to output."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from prune.masks import Masks, check_masks
from prune.positive import NORMALISATIONS, WEIGHTED, is_shift
from prune.scoring import device_of, output, undisturbed, values


def connected(model: nn.Module, masks: Masks, input_shape: tuple[int, ...]) -> bool:
    """Return True if a path of kept weights leads from an input to an output.

    The network is run on ones with each kept weight as 1, normalisations as 1 and biases as 0
    (R > 0 of Eq. 5). The output of each layer is cut to 0 or 1, so it cannot overflow or vanish.
    False means layer-collapse (Sec. 3) in any network; an empty tensor means it only where a layer
    is a cut.

    Args:
        model: Read, not changed.
        masks: name -> bool tensor, True = kept; weights without a mask count as kept.
        input_shape: Shape of one example, without the batch.

    Returns:
        True if an output is positive.

    Raises:
        ValueError: If a mask fits no prunable weight of the model.
    """
    check_masks(model, masks)
    with undisturbed(model), torch.no_grad():
        theta = {name: torch.ones_like(t) for name, t in values(model, {}, torch.float32).items()}
        theta = {name: t * (0 if is_shift(name) else 1) for name, t in theta.items()}
        x = torch.ones(1, *input_shape, device=device_of(model))
        theta |= {name: mask.to(x) for name, mask in masks.items()}
        with Paths():
            return any(bool((y > 0).any()) for y in output(model, theta, x))


class Paths(TorchFunctionMode):
    """Cut each stream to 1 where a path of kept weights reaches it, and to 0 elsewhere."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`; cut the result of weighted functions, skip normalisations."""
        if func in NORMALISATIONS:
            return _reached(args[0])
        out = func(*args, **(kwargs or {}))
        return _reached(out) if func in WEIGHTED else out


def _reached(x: Tensor) -> Tensor:
    """Return 1 where x > 0, and 0 elsewhere, in the dtype of x."""
    return (x > 0).to(x.dtype)
