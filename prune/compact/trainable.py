"""The part of a masked network that is trained: the channels that no kept weight reads are removed.

Such a channel has no gradient, and no other gradient depends on it. A constant channel that is read
stays: its bias, or the shift of its batch normalisation, is trained.
"""

from typing import Any

import torch
from torch import Tensor, nn

from prune.compact.channels import remaining
from prune.compact.keeping import staying
from prune.compact.narrow import Places, check, narrow, outputs, read, twin
from prune.compact.operations import DROPOUTS, module_of
from prune.compact.reading import Reading
from prune.enforce import apply, release
from prune.masks import Masks


def trainable(
    model: nn.Module, masks: Masks, example: Tensor | tuple[Any, ...]
) -> tuple[nn.Module, Places]:
    """Remove each channel that no kept weight reads on a way to the output.

    What is left trains as the masked model does: its outputs, loss and gradients are those of the
    masked model, in training mode and in eval mode, up to the order of sums. Dropout draws for the
    removed channels, too.

    Args:
        model: The whole network. Not changed.
        masks: name -> bool tensor, shaped like the parameter of that name; True = kept.
        example: A batch of at least two inputs, or a tuple of arguments; values do not matter.

    Returns:
        A network of the same classes with narrower layers and its part of the masks applied, and
        the places of its parameters and buffers: `model.get_parameter(name)[places[name]]` is its
        parameter. A tensor that has kept its size has no place.

    Raises:
        ValueError: If torch.fx cannot trace the model, or if its code depends on its widths.
    """
    small = release(twin(model)).double().train()
    _mark_kept(small, masks)
    arguments = example if isinstance(example, tuple) else (example,)
    arguments = torch.fx.node.map_aggregate(arguments, _doubled)
    reading, trained = read(small, arguments, folds=False)
    evaluated = outputs(small.eval(), arguments)
    stays = staying(reading)
    places = narrow(small, reading, stays)
    _draw_for_all(small, reading, stays)
    check(small, arguments, evaluated)
    check(small.train(), arguments, trained)
    _give_values(small, model, places)
    apply(small, {name: _part(mask, name, places) for name, mask in masks.items()})
    return small.train(model.training), places


def _doubled(value: Any) -> Any:
    """Return a tensor of numbers in float64; anything else as it is."""
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().double() if floating else value


@torch.no_grad()
def _mark_kept(model: nn.Module, masks: Masks) -> None:
    """Set pruned weights to 0, and kept weights that are 0 to another value."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight[weight == 0] = 1
        if name in masks:
            weight.mul_(masks[name].to(weight.device))


@torch.no_grad()
def _give_values(small: nn.Module, model: nn.Module, places: Places) -> None:
    """Give parameters and buffers the values and dtypes that they have in the whole model."""
    for tensors in (nn.Module.named_parameters, nn.Module.named_buffers):
        own = dict(tensors(small))
        for name, whole in tensors(model):
            own[name].data = _part(whole.detach(), name, places).clone()


def _part(whole: Tensor, name: str, places: Places) -> Tensor:
    """Return what is left of a tensor."""
    return whole[places[name]] if name in places else whole


def _draw_for_all(small: nn.Module, reading: Reading, stays: Tensor) -> None:
    """Let dropout draw as many numbers as in the whole network."""
    for node in reading.nodes:
        module = module_of(reading.model, node)
        if isinstance(module, DROPOUTS):
            numbers = reading.numbers[node]
            axis, kept = remaining(numbers, stays)
            if kept is not None and len(kept) < numbers.size(axis):
                parent, _, name = str(node.target).rpartition(".")
                device = next(small.parameters()).device
                spared = _Dropout(module, axis, numbers.size(axis), kept.to(device))
                setattr(small.get_submodule(parent), name, spared)


class _Dropout(nn.Module):
    """A dropout that draws for the removed channels, too: so the others have the same draws."""

    kept: Tensor

    def __init__(self, dropout: nn.Module, axis: int, size: int, kept: Tensor):
        """Keep the dropout of the whole network, its size along the axis, and what is left."""
        super().__init__()
        self.dropout, self.axis, self.size = dropout, axis, size
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input, each element times 0 or 1 / (1 - p)."""
        if not self.training:
            return x
        shape = [*x.shape]
        shape[self.axis] = self.size
        drawn: Tensor = self.dropout(_ones_like(x, shape))
        return x * drawn.index_select(self.axis, self.kept)


def _ones_like(x: Tensor, shape: list[int]) -> Tensor:
    """Return ones of a shape in the memory format of x: random numbers are drawn in its order."""
    last = x.dim() == 4 and not x.is_contiguous()
    ones = x.new_ones(shape)
    return ones.contiguous(memory_format=torch.channels_last) if last else ones
