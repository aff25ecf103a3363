"""A physically smaller network that computes the same: channels that nothing reads are left out.

Masks alone make no network faster. But where synaptic flow is conserved, a channel that has lost
all weights on one side scores 0 on the other (Theorem 1), so SynFlow empties whole channels.
"""

import copy
import operator
from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from prune.enforce import release

LAYERS = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# What treats each channel by itself, so that its output has the channels of its input.
MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Tanh),
    *(nn.Identity, nn.Dropout, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten),
    *NORMS,
)
FUNCTIONS = {
    *(torch.relu, F.relu, F.relu6, F.leaky_relu, F.gelu, F.silu, F.dropout, F.max_pool2d),
    *(F.avg_pool2d, F.adaptive_avg_pool2d, torch.flatten, "relu", "relu_", "flatten"),
}
ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}


class Channels:
    """The channels that one or several tensors have in common, and which of them are read."""

    def __init__(self, count: int, live: bool = False):
        self.live = torch.full((count,), live)

    def of(self, size: int) -> Tensor:
        """Which of `size` features are live: after flattening, a channel has several."""
        return self.live.repeat_interleave(size // max(1, len(self.live)))


def compact(model: nn.Module, example: Tensor) -> nn.Module:
    """Leave out each channel that no weight other than 0 reads on a way to the output.

    Args:
        model: Trained or not, with masks applied or with its pruned weights 0. Not changed.
        example: A batch of inputs (n, ...), to learn shapes from.

    Returns:
        A network of the same classes, its layers narrower, without masks, in eval mode; equal to
        `model` in eval mode but for the order of sums. Where channels are joined, split or
        looked at together (concatenation, grouped convolution, layer norm), all of them stay.

    Raises:
        ValueError: If torch.fx cannot trace the model.
    """
    small = release(copy.deepcopy(model).eval())
    nodes = _traced(small, example)
    channels = _channels(small, nodes)
    plain = [node for node in nodes if _is_plain_layer(small, node)]
    layers = [(small.get_submodule(n.target), channels[n.args[0]], channels[n]) for n in plain]
    _find_live(layers)
    for layer, before, after in layers:
        _narrow_layer(layer, before, after)
    for node in nodes:
        if _is_a(NORMS, small, node):
            _narrow_norm(small.get_submodule(node.target), channels[node])
    return small


def _traced(model: nn.Module, example: Tensor) -> list[fx.Node]:
    """The operations of a forward pass, in order, with the shapes of what they return."""
    try:
        graph = fx.symbolic_trace(model)
        with torch.no_grad():
            ShapeProp(graph).propagate(example)
    except Exception as error:  # of the model's own code, of any kind
        reason = str(error).partition("\n")[0]
        raise ValueError(f"this network cannot be made smaller: torch.fx says {reason}") from error
    return list(graph.graph.nodes)


def _channels(model: nn.Module, nodes: list[fx.Node]) -> dict[fx.Node, Channels]:
    """Those of each tensor; what no rule is for keeps all that it reads and all that it returns."""
    channels: dict[fx.Node, Channels] = {}
    shared = _shared(model, nodes)
    for node in nodes:
        inputs = node.all_input_nodes
        if node not in shared and _is_plain_layer(model, node):
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
    """The nodes whose weights another node uses, too."""
    weights = {}
    for node in nodes:
        if node.op == "call_module":
            weights[node] = [id(weight) for weight in model.get_submodule(node.target).parameters()]
        if node.op == "get_attr":
            weights[node] = [id(operator.attrgetter(node.target)(model))]
    uses = Counter(weight for own in weights.values() for weight in own)
    return {node for node, own in weights.items() if any(uses[weight] > 1 for weight in own)}


def _is_plain_layer(model: nn.Module, node: fx.Node) -> bool:
    """A linear layer on vectors (n, C), or a convolution on maps (n, C, H, W) without groups."""
    if not _is_a(LAYERS, model, node):
        return False
    layer, dimensions = model.get_submodule(node.target), len(_shape(node))
    if isinstance(layer, nn.Linear):
        return dimensions == 2
    return dimensions == 4 and layer.groups == 1


def _goes_by_channel(model: nn.Module, node: fx.Node) -> bool:
    """Whether the output has the channels of its input, or features of each in their order."""
    flattens = node.target in ("view", "reshape") and node.args[2:] == (-1,)
    if not (flattens or _is_a(MODULES, model, node) or node.target in FUNCTIONS):
        return False
    return _shape(node)[:1] == _shape(node.all_input_nodes[0])[:1]  # the batch is left alone


def _is_a(kinds: tuple[type, ...], model: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(node.target), kinds)


def _shape(node: fx.Node) -> tuple[int, ...]:
    """() where it returns no tensor."""
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _width(node: fx.Node) -> int:
    """How many channels it returns; 0 where it has no such dimension."""
    return (*_shape(node), 0, 0)[1]


def _are_alike(channels: dict[fx.Node, Channels], added: list[fx.Node]) -> bool:
    """Flattened from as many channels, and nothing broadcast along them."""
    return len({len(channels[node].live) for node in added}) == 1


def _merged(channels: dict[fx.Node, Channels], added: list[fx.Node]) -> Channels:
    """Tensors that are added have their channels in common."""
    first, *others = (channels[node] for node in added)
    for other in others:
        first.live |= other.live
        channels.update({node: first for node, found in channels.items() if found is other})
    return first


def _find_live(layers: list[tuple[nn.Module, Channels, Channels]]) -> None:
    """A channel is live if a live one is computed from it by a weight other than 0."""
    changed = True
    while changed:
        changed = False
        for layer, before, after in layers:
            read = (layer.weight[after.live] != 0).any(0).view(len(before.live), -1).any(1).cpu()
            changed |= bool((read & ~before.live).any())
            before.live |= read
    for _, before, _ in layers:
        before.live[0] |= not before.live.any()  # torch has no layers without channels


def _narrow_layer(layer: nn.Module, before: Channels, after: Channels) -> None:
    rows, columns = after.of(layer.weight.shape[0]), before.of(layer.weight.shape[1])
    layer.weight = nn.Parameter(layer.weight.detach()[rows][:, columns])
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[rows])
    kind = "features" if isinstance(layer, nn.Linear) else "channels"
    setattr(layer, f"out_{kind}", int(rows.sum()))
    setattr(layer, f"in_{kind}", int(columns.sum()))


def _narrow_norm(norm: nn.Module, within: Channels) -> None:
    live = within.of(norm.num_features)
    for name, tensor in [*norm.named_parameters(), *norm.named_buffers()]:
        if tensor.dim():  # not the count of batches
            narrow = tensor.detach()[live]
            setattr(norm, name, nn.Parameter(narrow) if name in norm._parameters else narrow)
    norm.num_features = int(live.sum())
