"""A copy of a network in which no weight of a layer takes memory."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from prune.positive import is_shift
from prune.weights import prunable


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
