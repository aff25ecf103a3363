"""Find the channels of each tensor in a forward pass, for `compact`.

The pass runs twice at once: on values, and on channel numbers. So a concatenation, a shuffle or a
slice of channels needs no rule of its own: it runs on the numbers as it does on the values.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune.compact.channels import ALWAYS, Channels, Layer, Mix, Norm, along, shared, spread, thin
from prune.compact.folding import foldable, kernels
from prune.compact.operations import (
    AVERAGES,
    BY_CHANNEL,
    LAYERS,
    LINEAR,
    MOVES,
    NORMS,
    POINTWISE,
    PRODUCTS,
    QUOTIENTS,
    REDUCTIONS,
    SHAPES,
    border,
    kind,
    module_of,
    run_on,
    tensors_in,
    tied_nodes,
)


class Reading(fx.Interpreter):
    """A forward pass on values and channel numbers.

    Attributes:
        numbers: node -> its result with channel numbers in place of values.
        ran: Nodes that run on channel numbers as on values.
        steps: Layers, norms and mixtures in the order of the pass.
    """

    def __init__(self, traced: fx.GraphModule, folds: bool = True):
        """Begin without channels.

        Args:
            traced: The network.
            folds: True = constant channels can be folded; False = they are channels as others.
        """
        super().__init__(traced)
        self.model: nn.Module = traced
        self.nodes = list(traced.graph.nodes)
        self.tied = tied_nodes(traced, self.nodes)
        self.channels = Channels(folds)
        self.numbers: dict[fx.Node, Any] = {}
        self.ran: set[fx.Node] = set()
        self.steps: list[Layer | Norm | Mix] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation on values, and on channel numbers."""
        before = {
            source: value._version
            for source in n.all_input_nodes
            if isinstance(value := self.env[source], Tensor)
        }
        result = super().run_node(n)
        same = [source for source in before if n.op != "output" and self.env[source] is result]
        if same and result._version == before[same[0]]:  # handed on, as dropout does
            self.numbers[n] = self.numbers[same[0]]
        else:
            self.numbers[n] = self._numbers(n, result)
        if same:  # perhaps changed in place, under its other names too
            aliases = [node for node, value in self.env.items() if value is result]
            self.numbers.update(dict.fromkeys(aliases, self.numbers[n]))
        return result

    def _numbers(self, node: fx.Node, result: Any) -> Any:
        """Return the result with channel numbers in place of values."""
        key = kind(self.model, node)
        inputs = [self.numbers[source] for source in node.all_input_nodes]
        tensors = [found for found in inputs if tensors_in(found)]
        found = None
        if key is None:
            pass
        elif not tensors_in(result) and (not tensors or key in SHAPES):
            found = run_on(self.model, node, self.numbers)
            self.ran.add(node)
        elif key in MOVES and isinstance(inputs[0], Tensor | tuple | list):
            found = self._moved(node)
        elif tensors and isinstance(result, Tensor) and node not in self.tied:
            found = self._by_rule(node, key, tensors, result)
        return self._kept(inputs, result) if found is None else found

    def _by_rule(
        self, node: fx.Node, key: object, tensors: list[Tensor], result: Tensor
    ) -> Tensor | None:
        """Return the numbers of the result; None if no rule fits."""
        if key in LAYERS:
            return self._layer(node, result)
        if key in NORMS or key in BY_CHANNEL or key in AVERAGES:
            return self._by_channel(node, key, tensors, result)
        if key in REDUCTIONS:
            return self._reduced(node, tensors[0])
        if key in POINTWISE or key in PRODUCTS:
            return self._mixed(node, tensors, result)
        if key in QUOTIENTS and len(tensors) == 1:
            first = node.args[0]
            known = isinstance(first, fx.Node) and self.numbers[first] is tensors[0]
            return tensors[0] if known else None
        return None

    def _kept(self, inputs: list[Any], result: Any) -> Any:
        """Keep all channels that are read and returned."""
        for numbers in tensors_in(inputs):
            self.channels.need(thin(numbers))
        return fx.node.map_aggregate(
            result,
            lambda x: torch.tensor(ALWAYS).expand(x.shape) if isinstance(x, Tensor) else x,
        )

    def _moved(self, node: fx.Node) -> Any:
        """Run the operation on channel numbers."""
        if any(tensors_in(self.numbers[source]) for source in _indices(node)):
            return None
        try:
            result = run_on(self.model, node, self.numbers)
        except Exception:  # an operation that does not take integers, say
            return None
        result = fx.node.map_aggregate(result, lambda x: shared(x) if isinstance(x, Tensor) else x)
        self.ran.add(node)
        parts = tensors_in(result)
        for numbers in parts:
            self.channels.tie_along(numbers)
        if len({numbers.shape for numbers in parts}) == 1 < len(parts):  # equal chunks
            small = torch.broadcast_tensors(*map(thin, parts))
            self.channels.tie_along(torch.stack(small), skip=1)
        return result

    def _layer(self, node: fx.Node, result: Tensor) -> Tensor | None:
        """Give the outputs of a layer new numbers."""
        module, source = module_of(self.model, node), node.all_input_nodes[0]
        assert module is not None
        axis = -1 if isinstance(module, LINEAR) else 1
        weight = module._parameters.get("weight")
        columns = along(self.numbers[source], axis)
        unlike = weight is None or (axis == 1 and result.dim() != weight.dim())
        if columns is None or unlike:  # a map without batch axis, or a weight made of others
            return None
        constants = _first(self.env[source], axis)
        folded = foldable(module, self.channels.constant[columns], constants)
        read = (kernels(module) != 0).any(-1).cpu()
        read &= ~folded.view(len(read), 1, -1)
        rows = self.channels.new(~read.any(-1).flatten())
        constants = torch.where(folded, constants, 0)
        self.steps.append(Layer(node, module, columns, rows, read, constants))
        return spread(rows, axis, result.shape)

    def _by_channel(
        self, node: fx.Node, key: object, tensors: list[Tensor], result: Tensor
    ) -> Tensor | None:
        """Return the numbers of the input, at positions of their own."""
        numbers = tensors[0]
        columns = along(numbers, 1) if numbers.dim() > 1 else None
        if columns is None or len(tensors) > 1 or result.shape[:2] != numbers.shape[:2]:
            return None
        if key in NORMS:
            module = module_of(self.model, node)
            assert module is not None
            self.steps.append(Norm(module, columns))
        if key in AVERAGES and border(self.model, node):
            values = _first(self.env[node.all_input_nodes[0]], 1)
            constant = self.channels.constant[columns] & (values == 0)
            columns = self._mixture(columns[None], constant)
        return spread(columns, 1, result.shape)

    def _reduced(self, node: fx.Node, numbers: Tensor) -> Tensor | None:
        """Return the numbers, which are the same along all reduced axes."""
        rest: Any = fx.node.map_arg(node.args[1:], self.numbers.__getitem__)
        named: Any = node.kwargs
        try:
            found = numbers.amax(*rest, **named)
            return found if found.equal(numbers.amin(*rest, **named)) else None
        except Exception:  # a dtype is given, say
            return None

    def _mixed(self, node: fx.Node, tensors: list[Tensor], result: Tensor) -> Tensor | None:
        """Return numbers of mixtures; a single tensor hands its own on."""
        if len(tensors) == 1:
            return tensors[0] if tensors[0].shape == result.shape else None
        parts = torch.stack(torch.broadcast_tensors(*map(thin, tensors)))
        constant = self.channels.constant[parts]
        every = constant.all(0)
        if kind(self.model, node) in PRODUCTS and not self._in_place(node, result):
            every |= (constant & (self._values(node, parts) == 0)).any(0)
        rows = self._mixture(parts.flatten(1), every.flatten()).view(parts.shape[1:])
        self._tie(tensors, rows)
        return rows.expand(result.shape)

    def _mixture(self, parts: Tensor, constant: Tensor) -> Tensor:
        """Return numbers of channels that others are mixed to; equal columns give equal numbers."""
        kinds, places = torch.cat([parts, constant[None].long()]).unique(dim=1, return_inverse=True)
        if not kinds[:-1].any():
            return torch.full_like(places, ALWAYS)
        rows = self.channels.new(kinds[-1].bool())
        self.steps.append(Mix(kinds[:-1], rows))
        if len(parts) == 1:
            self.channels.tie(kinds[0], rows)
        return rows[places]

    def _tie(self, tensors: list[Tensor], rows: Tensor) -> None:
        """Let each input's channels stay or go with those of the mixture."""
        changing = [axis for axis in range(rows.dim()) if rows.size(axis) > 1]
        for numbers in tensors:
            shape = (*[1] * (rows.dim() - numbers.dim()), *numbers.shape)
            small = thin(numbers)
            if all(shape[axis] == 1 for axis in changing):  # a number for all channels
                self.channels.tie(small, torch.full_like(small, ALWAYS))
            else:
                self.channels.tie(*torch.broadcast_tensors(small, rows))
        self.channels.tie_along(rows)

    def _in_place(self, node: fx.Node, result: Tensor) -> bool:
        """Return True if the operation has overwritten an input."""
        return any(self.env[source] is result for source in node.all_input_nodes)

    def _values(self, node: fx.Node, parts: Tensor) -> Tensor:
        """Return one value of each input for each channel of the mixture."""
        values = [self.env[source] for source in node.all_input_nodes]
        tensors = [value for value in values if isinstance(value, Tensor)]
        slices = tuple(slice(size) for size in parts.shape[1:])
        return torch.stack([value[slices].cpu() for value in torch.broadcast_tensors(*tensors)])


def _first(values: Tensor, axis: int) -> Tensor:
    """Return the values along an axis, at the first position, in float64."""
    found = values.detach().movedim(axis, -1)[(0,) * (values.dim() - 1)]
    return found.cpu().double()


def _indices(node: fx.Node) -> list[fx.Node]:
    """Return the nodes that give an index or a shape, and no elements."""
    return node.all_input_nodes[1:] if node.target is operator.getitem else []
