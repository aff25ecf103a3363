"""Decide which channels stay, for `compact`.

A channel stays if a weight other than 0 reads it on a way to the output, and if the network's own
code asks for it: added channels stay together, groups stay equally wide, a chunk is half of all.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from prune.compact.channels import Layer, Mix, narrowed
from prune.compact.operations import POINTWISE, PRODUCTS, kind, run_on, tensors_in
from prune.compact.reading import Reading


def staying(reading: Reading) -> Tensor:
    """Return for each channel number if the channel stays."""
    roots = reading.channels.roots()
    kept = torch.zeros(len(roots), dtype=torch.bool)
    kept[roots[_live(reading)]] = True
    while True:
        stays = kept[roots]
        asked = torch.cat([*_filling(reading, stays), *_misfits(reading, stays)])
        if stays[asked].all():
            return stays
        kept[roots[asked]] = True


def _live(reading: Reading) -> Tensor:
    """Return for each channel if a weight other than 0 leads from it to the output."""
    live = torch.zeros(len(reading.channels.constant), dtype=torch.bool)
    live[torch.cat(reading.channels.needed)] = True
    for step in reversed(reading.steps):
        if isinstance(step, Layer):
            outputs = live[step.rows].view(len(step.reads), -1, 1)
            live[step.columns[(step.reads & outputs).any(1).flatten()]] = True
        elif isinstance(step, Mix):
            live[step.parts[:, live[step.rows]]] = True
    return live


def _filling(reading: Reading, stays: Tensor) -> Iterator[Tensor]:
    """Yield channels that make the groups of each layer equally wide, and none empty.

    A group goes if nothing of it stays. A layer without groups is one group; torch has no layers
    without channels.
    """
    for step in reading.steps:
        if isinstance(step, Layer):
            sides = [numbers.view(len(step.reads), -1) for numbers in (step.columns, step.rows)]
            used = torch.cat([stays[side] for side in sides], 1).any(1)
            used[0] |= not used.any()
            for side in sides:
                yield side[_missing(stays[side], used)]


def _missing(kept: Tensor, used: Tensor) -> Tensor:
    """Return what the used groups need beside the kept ones to be as wide as the widest."""
    counts = kept.sum(1, keepdim=True)
    needed = counts.max().clamp(min=1) - counts
    return ~kept & ((~kept).cumsum(1) <= needed) & used[:, None]


def _misfits(reading: Reading, stays: Tensor) -> Iterator[Tensor]:
    """Yield the channels of operations that would do something else without the others."""
    small: dict[fx.Node, Any] = {}
    for node in reading.nodes:
        small[node] = fx.node.map_aggregate(
            reading.numbers[node], lambda x: narrowed(x, stays) if isinstance(x, Tensor) else x
        )
        if node.op.startswith("call") and not _fits(reading, node, small):
            for source in _sources(reading, node):
                yield from (numbers.unique() for numbers in tensors_in(reading.numbers[source]))


def _fits(reading: Reading, node: fx.Node, small: dict[fx.Node, Any]) -> bool:
    """Return True if the operation does to fewer channels what it does to all.

    Args:
        reading: Of all channels.
        node: The operation.
        small: The numbers that stay, up to this node. Its own result is replaced if it is no
            tensor, such as a size.
    """
    try:
        if node in reading.ran:
            expected, small[node] = small[node], run_on(reading.model, node, small)
            return not tensors_in(expected) or _same(expected, small[node])
        tensors = [small[source].shape for source in _tensors(node, small)]
        if len(tensors) > 1 and kind(reading.model, node) in (POINTWISE | PRODUCTS):
            return torch.broadcast_shapes(*tensors) == small[node].shape
        return _plain(node, small) == _plain(node, reading.numbers)
    except Exception:  # the sizes that the network's code gives do not fit, say
        return False


def _same(a: Any, b: Any) -> bool:
    """Return True if two results hold equal tensors in the same form."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _tensors(node: fx.Node, results: dict[fx.Node, Any]) -> list[fx.Node]:
    """Return the inputs of the node that are tensors."""
    return [source for source in node.all_input_nodes if isinstance(results[source], Tensor)]


def _plain(node: fx.Node, results: dict[fx.Node, Any]) -> Any:
    """Return the arguments of the node without tensors: sizes and numbers."""
    return fx.node.map_arg(
        (node.args, node.kwargs),
        lambda source: None if tensors_in(results[source]) else results[source],
    )


def _sources(reading: Reading, node: fx.Node) -> Iterator[fx.Node]:
    """Yield the tensors that the operation reads, or whose sizes it reads."""
    for source in node.all_input_nodes:
        if tensors_in(reading.numbers[source]):
            yield source
        else:
            yield from _sources(reading, source)
