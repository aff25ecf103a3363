"""The channels of each tensor of a traced network, for `compact`: which tensors share channels.

Each operation is known by a rule, or it keeps all channels that it reads and returns.
"""

import operator
from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

# Modules that treat each channel by itself: the output has the channels of the input.
MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Identity,
    nn.Dropout,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
)
# Functions and tensor methods that treat each channel by itself.
FUNCTIONS: set[object] = {
    torch.relu,
    F.relu,
    F.relu6,
    F.leaky_relu,
    F.gelu,
    F.silu,
    F.dropout,
    F.max_pool2d,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
    torch.flatten,
    "relu",
    "relu_",
    "flatten",
}
# Functions and tensor methods that add two tensors.
ADDS: set[object] = {
    operator.add,
    operator.iadd,
    torch.add,
    "add",
    "add_",
}


class Channels:
    """The channels that one or several tensors have in common.

    Attributes:
        live: (count,) bool, True = a weight other than 0 reads the channel on a way to the output.
    """

    def __init__(self, count: int, live: bool = False):
        """Begin with `count` channels, all of them live or none."""
        self.live = torch.full((count,), live)

    def by_feature(self, size: int) -> Tensor:
        """Return `live` for each of `size` features; after flattening, a channel has several."""
        return self.live.repeat_interleave(size // max(1, len(self.live)))


def channels_of(model: nn.Module, nodes: list[fx.Node]) -> dict[fx.Node, Channels]:
    """Map each node to its channels.

    An operation without a rule keeps all channels that it reads and all that it returns.
    """
    channels: dict[fx.Node, Channels] = {}
    shared = _shared(model, nodes)
    for node in nodes:
        inputs = node.all_input_nodes
        if node not in shared and plain_layer(model, node) is not None:
            channels[node] = Channels(_width(node))
        elif node not in shared and _goes_by_channel(model, node):
            channels[node] = channels[inputs[0]]
        elif node.target in ADDS and _are_alike(channels, inputs):
            channels[node] = _merged(channels, inputs)
        elif node.target == "size" and node.args[1:] == (0,):
            channels[node] = Channels(0)
        else:
            for source in inputs:
                channels[source].live[:] = True
            channels[node] = Channels(_width(node), live=True)
    return channels


def _shared(model: nn.Module, nodes: list[fx.Node]) -> set[fx.Node]:
    """Return the nodes whose weights another node uses, too."""
    weights = {}
    for node in nodes:
        module = module_of(model, node)
        if module is not None:
            weights[node] = [id(weight) for weight in module.parameters()]
        if node.op == "get_attr":
            weights[node] = [id(operator.attrgetter(str(node.target))(model))]
    uses = Counter(weight for own in weights.values() for weight in own)
    return {node for node, own in weights.items() if any(uses[weight] > 1 for weight in own)}


def module_of(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """Return the module that the node calls, or None for another operation."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def plain_layer(model: nn.Module, node: fx.Node) -> nn.Conv2d | nn.Linear | None:
    """Return the layer that the node calls, or None unless it can be narrowed.

    That is a linear layer on vectors (n, C), or a convolution without groups on maps (n, C, H, W).
    """
    layer, dimensions = module_of(model, node), len(_shape(node))
    if isinstance(layer, nn.Linear) and dimensions == 2:
        return layer
    if isinstance(layer, nn.Conv2d) and dimensions == 4 and layer.groups == 1:
        return layer
    return None


def _goes_by_channel(model: nn.Module, node: fx.Node) -> bool:
    """Return True if the output has the input's channels, or the features of each in order."""
    flattens = node.target in ("view", "reshape") and node.args[2:] == (-1,)
    by_module = isinstance(module_of(model, node), MODULES)
    if not (flattens or by_module or node.target in FUNCTIONS):
        return False
    return _shape(node)[:1] == _shape(node.all_input_nodes[0])[:1]  # the batch stays as it is


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of the node's result; () if that is no tensor."""
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _width(node: fx.Node) -> int:
    """Return the number of channels of the result; 0 if it has no such dimension."""
    shape = _shape(node)
    return shape[1] if len(shape) > 1 else 0


def _are_alike(channels: dict[fx.Node, Channels], added: list[fx.Node]) -> bool:
    """Return True if all have as many channels, so that nothing is broadcast along them."""
    return len({len(channels[node].live) for node in added}) == 1


def _merged(channels: dict[fx.Node, Channels], added: list[fx.Node]) -> Channels:
    """Give tensors that are added the same channels, and return these."""
    first, *others = (channels[node] for node in added)
    for other in others:
        first.live |= other.live
        channels.update({node: first for node, found in channels.items() if found is other})
    return first
