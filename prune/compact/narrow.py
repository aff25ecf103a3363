"""A physically smaller network with the same outputs: channels that no layer reads are removed.

Masks alone make no network faster. Where synaptic flow is conserved, a channel that has lost all
weights on one side scores 0 on the other side (Theorem 1). So SynFlow empties whole channels.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune.compact.channels import Layer, Mix, Norm
from prune.compact.folding import fold, groups_of
from prune.compact.keeping import staying
from prune.compact.operations import LINEAR, TRANSPOSED, tensors_in
from prune.compact.reading import Reading
from prune.enforce import release

REFUSAL = "this network cannot be made smaller"
Places = dict[str, tuple[Tensor, ...]]  # name -> index: whole[index] is the tensor of the part


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
    small = release(twin(model).eval())
    arguments = example if isinstance(example, tuple) else (example,)
    reading, expected = read(small, arguments)
    stays = staying(reading)
    for step in reading.steps:
        if isinstance(step, Layer):
            fold(small, step.node, torch.where(stays[step.columns], 0, step.constants))
    narrow(small, reading, stays)
    check(small, arguments, expected)
    return small


def parameters_left(model: nn.Module, small: nn.Module) -> str:
    """State the number of parameters before and after `compact`."""
    before, after = (sum(p.numel() for p in net.parameters()) for net in (model, small))
    return f"compact would leave {after:,} of {before:,} parameters"


def twin(model: nn.Module) -> nn.Module:
    """Return a copy of the model; raise ValueError if it cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # attributes of any kind may be in the way
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"{REFUSAL}: it cannot be copied ({reason})") from error


def read(model: nn.Module, example: tuple[Any, ...], folds: bool = True) -> tuple[Reading, Any]:
    """Trace a forward pass; return its channels and its outputs."""
    try:
        reading = Reading(fx.symbolic_trace(model), folds)
        return reading, outputs(reading.run, example)
    except Exception as error:  # the model's own code may raise any kind
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{REFUSAL}: torch.fx cannot trace it ({reason})") from error


def narrow(model: nn.Module, reading: Reading, stays: Tensor) -> Places:
    """Remove the channels that do not stay from the layers and normalisations, in place.

    Returns:
        The places of what is left, for each parameter and buffer that has become smaller.
    """
    names = {id(module): name for name, module in model.named_modules()}
    places: Places = {}
    for step in reading.steps:
        if not isinstance(step, Mix):
            own = _layer_places(step, stays) if isinstance(step, Layer) else _places(step, stays)
            for name, index in own.items():
                _take(step.module, name, index)
            places |= {f"{names[id(step.module)]}.{name}": index for name, index in own.items()}
    return places


def _layer_places(step: Layer, stays: Tensor) -> Places:
    """Return the places of the weight and the bias that stay; adapt the layer's sizes."""
    module, groups = step.module, groups_of(step.module)
    inputs, outputs = stays[step.columns], stays[step.rows]
    if inputs.all() and outputs.all():
        return {}
    sides = [side.view(groups, -1) for side in (outputs, inputs)]
    first, second = reversed(sides) if isinstance(module, TRANSPOSED) else sides
    used = first.any(1)
    count = int(used.sum())
    seconds = second[used].nonzero()[:, 1].view(count, 1, -1)
    firsts = first.flatten().nonzero()
    index = firsts, seconds.expand(-1, len(firsts) // count, -1).flatten(0, 1)
    if isinstance(module, LINEAR):
        vars(module).update(in_features=int(inputs.sum()), out_features=int(outputs.sum()))
    else:
        sizes = {"in_channels": int(inputs.sum()), "out_channels": int(outputs.sum())}
        vars(module).update(sizes, groups=count)
    bias = module._parameters.get("bias") is not None
    return {"weight": index} | ({"bias": (outputs.nonzero().flatten(),)} if bias else {})


def _places(step: Norm, stays: Tensor) -> Places:
    """Return the places of the scales, shifts and statistics that stay; adapt the size."""
    kept = stays[step.columns]
    if kept.all():
        return {}
    vars(step.module).update(num_features=int(kept.sum()))
    tensors = [*step.module.named_parameters(), *step.module.named_buffers()]
    index = (kept.nonzero().flatten(),)
    return {name: index for name, tensor in tensors if tensor.dim()}  # not the count of batches


def _take(module: nn.Module, name: str, index: tuple[Tensor, ...]) -> None:
    """Keep the indexed part of a parameter or buffer of a module."""
    whole: Tensor = getattr(module, name)
    part = whole.detach()[index].contiguous()
    trained = isinstance(whole, nn.Parameter)
    setattr(module, name, nn.Parameter(part, whole.requires_grad) if trained else part)


@torch.no_grad()
def outputs(call: Callable[..., Any], example: tuple[Any, ...]) -> Any:
    """Return the outputs, with the same random numbers each time; inputs are not overwritten."""
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        return call(*fx.node.map_aggregate(example, _copied))


def _copied(value: Any) -> Any:
    """Return a tensor's copy; anything else as it is."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def check(small: nn.Module, example: tuple[Any, ...], expected: Any) -> None:
    """Refuse a network whose outputs have changed: its code does not see that it is narrower."""
    try:
        found = tensors_in(outputs(small, example))
        pairs = zip(found, tensors_in(expected), strict=True)
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
