"""Operations of a traced network that `compact` knows, by how they treat channels.

An operation that is in no table keeps all channels that it reads and returns.
"""

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

LINEAR = (nn.Linear,)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (*LINEAR, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

# Each element of the result depends on one element of each input. All are finite on finite inputs.
POINTWISE: set[object] = {
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity),
    *DROPOUTS,
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardswish),
    *(F.hardsigmoid, F.hardtanh, F.sigmoid, F.tanh, F.softplus, torch.relu, torch.relu_),
    *(torch.sigmoid, torch.tanh, torch.abs, torch.neg, torch.clamp, torch.maximum, torch.minimum),
    *(operator.add, operator.iadd, operator.sub, operator.isub, operator.neg, abs),
    *(torch.add, torch.sub, "add", "add_", "sub", "sub_", "relu", "relu_", "sigmoid", "tanh"),
    *("abs", "neg", "clamp", "clone", "detach", "float", "double", "to"),
}
# Pointwise, too. The result is 0 where a factor is.
PRODUCTS: set[object] = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
# Pointwise where the divisor is a number.
QUOTIENTS: set[object] = {operator.truediv, operator.itruediv, torch.div, "div", "div_"}

# Each channel of (n, C, ...) by itself. A constant channel stays constant.
BY_CHANNEL: set[object] = {
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Upsample, F.interpolate),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool2d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
}
# As above, but zeros around the map make a constant channel differ at the border.
AVERAGES: set[object] = {
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
}
# Reductions over the axes that are given.
REDUCTIONS: set[object] = {torch.mean, torch.sum, torch.amax, "mean", "sum", "amax"}

# Elements change their places, and nothing else.
MOVES: set[object] = {
    *(nn.Flatten, nn.Unflatten, operator.getitem, getattr),
    *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.movedim),
    *(torch.cat, torch.concat, torch.stack, torch.chunk, torch.split, torch.unbind),
    *(torch.unsqueeze, torch.squeeze),
    *("flatten", "view", "reshape", "permute", "transpose", "movedim", "chunk", "split"),
    *("unbind", "unsqueeze", "squeeze", "contiguous", "expand", "unflatten"),
}
# Questions about a tensor's shape.
SHAPES: set[object] = {"size", "dim", "numel", getattr, len}


def kind(model: nn.Module, node: fx.Node) -> object:
    """Return the key to the tables: a module's type, a function, a method's name, or None."""
    module = module_of(model, node)
    if module is None:
        return node.target if node.op in ("call_function", "call_method") else None
    return type(module)


def module_of(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """Return the module that the node calls, or None for another operation."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def run_on(model: nn.Module, node: fx.Node, results: Mapping[fx.Node, Any]) -> Any:
    """Run the node on other results of the nodes before it."""
    args = fx.node.map_arg(node.args, results.__getitem__)
    kwargs = fx.node.map_arg(node.kwargs, results.__getitem__)
    call: Callable[..., Any]
    if node.op == "call_method":
        # view refuses tensors that are not contiguous, as channel numbers are.
        name = "reshape" if node.target == "view" else str(node.target)
        call = getattr(type(args[0]), name)
    elif node.op == "call_module":
        call = model.get_submodule(str(node.target))
    else:
        assert callable(node.target)
        call = node.target
    return call(*args, **kwargs)


def tensors_in(result: Any) -> list[Tensor]:
    """Return the tensors in a result of any form."""
    found: list[Tensor] = []
    fx.node.map_aggregate(result, lambda x: found.append(x) if isinstance(x, Tensor) else None)
    return found


def border(model: nn.Module, node: fx.Node) -> bool:
    """Return True if an average pool pads the map."""
    module = module_of(model, node)
    given = [*node.args, *[0] * 4][3] if module is None else module.padding
    padding = node.kwargs.get("padding", given)
    return padding not in (0, (0,), (0, 0), (0, 0, 0))


def tied_nodes(model: nn.Module, nodes: list[fx.Node]) -> set[fx.Node]:
    """Return the nodes whose weights, or whose dropout, another node uses, too."""
    weights = {}
    for node in nodes:
        module = module_of(model, node)
        if module is not None:
            weights[node] = [id(weight) for weight in module.parameters()]
            weights[node] += [id(module)] if isinstance(module, DROPOUTS) else []
        if node.op == "get_attr":
            weights[node] = [id(operator.attrgetter(str(node.target))(model))]
    uses = Counter(weight for own in weights.values() for weight in own)
    return {node for node, own in weights.items() if any(uses[weight] > 1 for weight in own)}
