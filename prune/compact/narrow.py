"""A physically smaller network with the same outputs: channels that no layer reads are removed.

Masks alone make no network faster. Where synaptic flow is conserved, a channel that has lost all
weights on one side scores 0 on the other side (Theorem 1). So SynFlow empties whole channels.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune.compact.channels import Layer, Norm
from prune.compact.folding import fold, groups_of, kernels
from prune.compact.keeping import staying
from prune.compact.operations import LINEAR, TRANSPOSED, tensors_in
from prune.compact.reading import Reading
from prune.enforce import release

REFUSAL = "this network cannot be made smaller"


def compact(model: nn.Module, example: Tensor | tuple[Any, ...]) -> nn.Module:
    """Remove each channel that no weight other than 0 reads on a way to the output.

    A channel that has the same value for each input is removed, too, where the next layer's bias
    (or the mean of the batch normalisation behind it) takes its part over exactly. So the network
    is the same function in eval mode. In training mode it is not where such channels were removed:
    their batch statistics are gone.

    Args:
        model: Trained or not, with masks applied or with its pruned weights 0. Not changed.
        example: A batch of inputs (n, ...), or a tuple of arguments; the values do not matter.

    Returns:
        A network of the same classes with narrower layers, without masks, in eval mode. It equals
        `model` in eval mode, up to the order of sums. All channels stay where an operation mixes
        channels without weights of a layer (layer norm, attention), and in parts that eval mode
        does not use.

    Raises:
        ValueError: If torch.fx cannot trace the model, or if its code depends on its widths.
    """
    small = release(_twin(model).eval())
    arguments = example if isinstance(example, tuple) else (example,)
    reading, outputs = _read(small, arguments)
    stays = staying(reading)
    for step in reading.steps:
        if isinstance(step, Layer):
            fold(small, step.node, torch.where(stays[step.columns], 0, step.constants))
    for step in reading.steps:
        if isinstance(step, Layer):
            _narrow_layer(step.module, stays[step.columns], stays[step.rows])
        elif isinstance(step, Norm):
            _narrow_norm(step.module, stays[step.columns])
    _check(small, arguments, outputs)
    return small


def _twin(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # attributes of any kind may be in the way
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"{REFUSAL}: it cannot be copied ({reason})") from error


def _read(model: nn.Module, example: tuple[Any, ...]) -> tuple[Reading, Any]:
    """Trace a forward pass; return its channels and its outputs."""
    try:
        reading = Reading(fx.symbolic_trace(model))
        return reading, _outputs(reading.run, example)
    except Exception as error:  # the model's own code may raise any kind
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{REFUSAL}: torch.fx cannot trace it ({reason})") from error


def _narrow_layer(module: nn.Module, columns: Tensor, rows: Tensor) -> None:
    """Keep the rows and columns of the weight that belong to channels that stay."""
    weight, old = module.get_parameter("weight"), kernels(module)
    sides = [side.view(groups_of(module), -1) for side in (rows, columns)]
    used = sides[0].any(1)
    places = [side[used].nonzero()[:, 1].view(int(used.sum()), -1) for side in sides]
    group = used.nonzero()[:, :, None]
    new = old[group, places[0][:, :, None], places[1][:, None, :]]
    if isinstance(module, TRANSPOSED):
        new = new.transpose(1, 2)
    module.weight = _like(weight, new.reshape(-1, new.shape[2], *weight.shape[2:]))
    if module._parameters.get("bias") is not None:
        bias = module.get_parameter("bias")
        module.bias = _like(bias, bias.detach()[rows])
    inputs, outputs = int(columns.sum()), int(rows.sum())
    if isinstance(module, LINEAR):
        vars(module).update(in_features=inputs, out_features=outputs)
    else:
        vars(module).update(in_channels=inputs, out_channels=outputs, groups=len(group))


def _like(old: nn.Parameter, new: Tensor) -> nn.Parameter:
    """Return a parameter that is trained if the old one is."""
    return nn.Parameter(new.contiguous(), old.requires_grad)


def _narrow_norm(norm: nn.Module, stays: Tensor) -> None:
    """Keep the scales, shifts and statistics of channels that stay."""
    for name, parameter in norm.named_parameters():
        setattr(norm, name, _like(parameter, parameter.detach()[stays]))
    for name, buffer in norm.named_buffers():
        if buffer.dim():  # not the count of batches
            setattr(norm, name, buffer[stays])
    vars(norm).update(num_features=int(stays.sum()))


@torch.no_grad()
def _outputs(call: Callable[..., Any], example: tuple[Any, ...]) -> Any:
    """Return the outputs, with the same random numbers each time; inputs are not overwritten."""
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        return call(*fx.node.map_aggregate(example, _copied))


def _copied(value: Any) -> Any:
    """Return a tensor's copy; anything else as it is."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def _check(small: nn.Module, example: tuple[Any, ...], expected: Any) -> None:
    """Refuse a network whose outputs have changed: its code does not see that it is narrower."""
    try:
        outputs = tensors_in(_outputs(small, example))
        pairs = zip(outputs, tensors_in(expected), strict=True)
        same = all(_close(a, b) for a, b in pairs)
    except Exception as error:  # as above
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{REFUSAL}: with narrower layers its code fails ({reason})") from error
    if not same:
        raise ValueError(f"{REFUSAL}: with narrower layers its code computes something else")


def _close(a: Tensor, b: Tensor) -> bool:
    """Return True if two outputs differ by rounding only."""
    if not b.is_floating_point() or not b.numel():
        return torch.equal(a, b)
    # Beside float64 a GPU may multiply with eleven bits.
    rounding = max(torch.finfo(b.dtype).eps ** 0.5, 0 if b.dtype == torch.float64 else 0.01)
    return torch.allclose(a, b, rtol=0, atol=rounding * float(b.abs().max()), equal_nan=True)
