"""Constant channels: they are removed, and the next layer's bias takes their part over.

A channel whose incoming weights are all 0 has the value of its bias wherever it is read. A layer
that pads its input with zeros reads something else at the border; there only the value 0 is folded.
"""

from torch import Tensor, fx, nn

from prune.compact.operations import NORMS, TRANSPOSED, module_of


def kernels(module: nn.Module) -> Tensor:
    """Return the weight of a layer as (groups, outputs, inputs, positions)."""
    weight, groups = module.get_parameter("weight").detach(), groups_of(module)
    weight = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    return weight.transpose(1, 2) if isinstance(module, TRANSPOSED) else weight


def groups_of(module: nn.Module) -> int:
    """Return the number of groups of a convolution; 1 for a linear layer."""
    return int(getattr(module, "groups", 1))


def foldable(module: nn.Module, constant: Tensor, values: Tensor) -> Tensor:
    """Return for each input of a layer if it can be replaced by a part of the bias, exactly.

    Args:
        module: A layer.
        constant: (inputs,) bool, True = the input has one value, whatever the network reads.
        values: (inputs,) these values.
    """
    return constant & values.isfinite() & ((values == 0) | (not _has_border(module)))


def _has_border(module: nn.Module) -> bool:
    """Return True if outputs at the border read fewer inputs, or read zeros."""
    if isinstance(module, TRANSPOSED):
        return True
    padding = getattr(module, "padding", ())
    if getattr(module, "padding_mode", "zeros") != "zeros" or padding == "valid":
        return False
    if padding == "same":
        return kernels(module).shape[-1] > 1
    return any(padding)


def fold(model: nn.Module, node: fx.Node, constants: Tensor) -> None:
    """Move what constant inputs add to the outputs of a layer to where it stays.

    That is the bias. Without one it is the mean of a batch normalisation that alone reads the
    outputs, or else a new bias.

    Args:
        model: Changed in place.
        node: The layer's place in the traced model.
        constants: (inputs,) values of the inputs that are removed; 0 for the others.
    """
    module = module_of(model, node)
    assert module is not None
    weights, used = kernels(module).sum(-1), constants != 0
    if not used.any():
        return
    values = constants.view(len(weights), 1, -1).to(weights.device)
    part = (weights.double() * values).sum(-1).flatten()
    bias, norm = module._parameters.get("bias"), _following_norm(model, node)
    if bias is not None:
        bias.data = (bias.double() + part).to(bias)
    elif norm is not None:
        mean = norm.get_buffer("running_mean")
        mean.copy_(mean.double() - part)
    elif part.any():
        module.bias = nn.Parameter(part.to(weights), module.get_parameter("weight").requires_grad)


def _following_norm(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """Return the batch normalisation that alone reads the node, if nothing else reads it."""
    users = list(node.users)
    norm = module_of(model, users[0]) if len(users) == 1 else None
    calls = [other for other in node.graph.nodes if norm and module_of(model, other) is norm]
    known = isinstance(norm, NORMS) and norm.running_mean is not None and len(calls) == 1
    return norm if known else None
