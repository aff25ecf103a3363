"""A physically smaller network with the same outputs: channels that no layer reads are removed.

Masks alone make no network faster. Where synaptic flow is conserved, a channel that has lost all
weights on one side scores 0 on the other side (Theorem 1). So SynFlow empties whole channels.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from prune.channels import Channels, channels_of, module_of, plain_layer
from prune.enforce import release

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Layer(NamedTuple):
    """A layer that can be narrowed, with the channels that it reads and returns."""

    module: nn.Conv2d | nn.Linear
    reads: Channels
    returns: Channels


def compact(model: nn.Module, example: Tensor) -> nn.Module:
    """Remove each channel that no weight other than 0 reads on a way to the output.

    Args:
        model: Trained or not, with masks applied or with its pruned weights 0. Not changed.
        example: A batch of inputs (n, ...); its values do not matter.

    Returns:
        A network of the same classes with narrower layers, without masks, in eval mode. It equals
        `model` in eval mode, up to the order of sums. All channels stay where an operation joins,
        splits or mixes channels (concatenation, grouped convolution, layer norm).

    Raises:
        ValueError: If torch.fx cannot trace the model.
    """
    small = release(copy.deepcopy(model).eval())
    nodes = _traced(small, example)
    channels = channels_of(small, nodes)
    layers = _layers(small, nodes, channels)
    _find_live(layers)
    for layer in layers:
        _narrow_layer(layer)
    for node in nodes:
        norm = module_of(small, node)
        if isinstance(norm, NORMS):
            _narrow_norm(norm, channels[node])
    return small


def _traced(model: nn.Module, example: Tensor) -> list[fx.Node]:
    """Return the operations of a forward pass in order, with the shapes of their results."""
    try:
        graph = fx.symbolic_trace(model)
        with torch.no_grad():
            ShapeProp(graph).propagate(example)
    except Exception as error:  # the model's own code may raise any kind
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"this network cannot be made smaller: torch.fx cannot trace it ({reason})"
        ) from error
    return list(graph.graph.nodes)


def _layers(
    model: nn.Module, nodes: list[fx.Node], channels: dict[fx.Node, Channels]
) -> list[Layer]:
    """Return all layers that can be narrowed, in the order of the forward pass."""
    layers = []
    for node in nodes:
        module = plain_layer(model, node)
        if module is not None:
            (source,) = node.all_input_nodes
            layers.append(Layer(module, channels[source], channels[node]))
    return layers


def _find_live(layers: list[Layer]) -> None:
    """Mark each channel from which a weight other than 0 leads to a live channel."""
    changed = True
    while changed:
        changed = False
        for module, reads, returns in layers:
            weight = module.weight[returns.live]
            read = (weight != 0).any(0).view(len(reads.live), -1).any(1).cpu()
            changed |= bool((read & ~reads.live).any())
            reads.live |= read
    for _, reads, _ in layers:
        reads.live[0] |= not reads.live.any()  # torch has no layers without channels


def _narrow_layer(layer: Layer) -> None:
    """Keep the rows and columns of the weight that belong to live channels."""
    module, reads, returns = layer
    rows = returns.by_feature(module.weight.shape[0])
    columns = reads.by_feature(module.weight.shape[1])
    module.weight = nn.Parameter(module.weight.detach()[rows][:, columns])
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias.detach()[rows])
    if isinstance(module, nn.Linear):
        module.in_features, module.out_features = int(columns.sum()), int(rows.sum())
    else:
        module.in_channels, module.out_channels = int(columns.sum()), int(rows.sum())


def _narrow_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, channels: Channels) -> None:
    """Keep the scales, shifts and statistics of live channels."""
    live = channels.by_feature(norm.num_features)
    for name, tensor in [*norm.named_parameters(), *norm.named_buffers()]:
        if tensor.dim():  # not the count of batches
            narrow = tensor.detach()[live]
            setattr(norm, name, nn.Parameter(narrow) if name in norm._parameters else narrow)
    norm.num_features = int(live.sum())
