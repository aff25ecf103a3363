"""The weights of a model: which of them are prunable, and where each one is used."""

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from prune.notices import listed

Choice = str | Iterable[str] | Callable[[str, nn.Module], bool]
ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)  # old style: they set the weight anew


class Place(NamedTuple):
    """One matrix of a layer, and the parameter that is trained for it.

    Both are the same, unless the matrix is computed: by `torch.nn.utils.parametrizations`
    (weight_norm, spectral_norm, orthogonal) or by a hook of the older functions of these names.
    """

    layer: nn.Module
    attribute: str  # of the layer, for example "weight"
    trained: nn.Parameter
    name: str  # of the trained parameter; its first one in `named_parameters`

    @property
    def computed(self) -> bool:
        """True if the matrix is computed from the trained parameter."""
        return self.layer._parameters.get(self.attribute) is not self.trained


def places(model: nn.Module) -> list[Place]:
    """Return the matrices of all layers that are prunable by default."""
    names = {id(p): name for name, p in model.named_parameters()}
    found = []
    for layer in model.modules():
        for attribute in _attributes(layer):
            trained = _trained(layer, attribute)
            if trained is not None:
                found.append(Place(layer, attribute, trained, names[id(trained)]))
    return found


def _attributes(layer: nn.Module) -> Iterator[str]:
    """Yield the names of the matrices of a layer."""
    # transformers' Conv1D is a linear layer with a transposed weight.
    if isinstance(layer, nn.Linear | _ConvNd) or type(layer).__name__ == "Conv1D":
        yield "weight"
    elif isinstance(layer, nn.MultiheadAttention):
        yield from ATTENTION
    elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        own = [*layer._parameters, *getattr(layer, "parametrizations", ())]
        names = {name.removesuffix("_orig").removesuffix("_v") for name in own}
        yield from sorted(name for name in names if name.startswith("weight_"))


def _trained(layer: nn.Module, attribute: str) -> nn.Parameter | None:
    """Return the parameter that is trained for a matrix, or None."""
    own = layer._parameters
    if parametrize.is_parametrized(layer, attribute):
        computed: Any = layer.parametrizations[attribute]  # type: ignore[index]
        originals = [p for p in computed._parameters.values() if p is not None]
        shape = computed().shape if len(originals) > 1 else originals[0].shape
        return next((p for p in originals if p.shape == shape), None)
    if own.get(attribute) is not None:
        return own[attribute]
    by_hook = any(isinstance(hook, HOOKS) for hook in layer._forward_pre_hooks.values())
    return own.get(f"{attribute}_v", own.get(f"{attribute}_orig")) if by_hook else None


def candidates(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return name -> parameter for all that may have a mask: floating, of two or more dimensions.

    Those that are not prunable by default (embeddings, bare parameters) can be named in `layers`.
    """
    return {
        name: p
        for name, p in model.named_parameters()
        if nn.parameter.is_lazy(p) or (p.dim() > 1 and p.is_floating_point())
    }


def prunable(
    model: nn.Module, layers: Choice | None = None, exclude: Choice = ()
) -> dict[str, nn.Parameter]:
    """Return the weights to prune: by default, of linear, convolutional and recurrent layers.

    The projections of attention belong to them. Biases and normalisation layers do not (App. 12.2).
    A weight under weight_norm, spectral_norm or torch.nn.utils.prune is found at the parameter that
    is trained. Where some weights are frozen (`requires_grad` False), those are left out.

    Args:
        model: Any network.
        layers: The weights to prune, instead of those. Patterns as of a shell, for the name of the
            parameter or of a module above it ("classifier.*", "conv1"); or a function of the name
            and the layer that returns True. Embeddings, bare parameters and frozen weights can be
            named too.
        exclude: The weights to leave out, given in the same way.

    Returns:
        name -> parameter, in the order of `named_parameters`. A weight that several layers share
        is listed once, under its first name.

    Raises:
        ValueError: If no weight is left, a pattern fits none, or a weight is not initialised yet.
    """
    named = candidates(model)
    weights = _by_default(model, named) if layers is None else named
    if layers is not None:
        wanted = chosen(model, layers, "layers")
        weights = {name: p for name, p in named.items() if name in wanted}
    if exclude != ():
        left_out = chosen(model, exclude, "exclude")
        weights = {name: w for name, w in weights.items() if name not in left_out}
    if not weights:
        raise ValueError(_nothing(model, named, layers, exclude))
    if lazy := [name for name, w in weights.items() if nn.parameter.is_lazy(w)]:
        raise ValueError(f"run the model once before pruning, to give a shape to {', '.join(lazy)}")
    return weights


def _by_default(model: nn.Module, named: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return the weights of the known kinds of layers, without those that are frozen.

    A network that is frozen throughout is taken whole.
    """
    trained = {id(place.trained) for place in places(model)}
    weights = {name: p for name, p in named.items() if id(p) in trained}
    moving = {name: p for name, p in weights.items() if p.requires_grad}
    return moving or weights


def _nothing(
    model: nn.Module, named: dict[str, nn.Parameter], layers: Choice | None, exclude: Choice
) -> str:
    """Return the reason why there is nothing to prune."""
    if layers is not None or exclude != ():
        return "nothing to prune: `layers` and `exclude` leave no weight"
    scripted = [n for n, m in model.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        return f"nothing to prune: {scripted[0] or 'the model'} is scripted; prune it before that"
    reason = "nothing to prune: the model has no convolutional, linear or recurrent layer"
    if named:
        return f"{reason}; name other weights in `layers`, for example {next(iter(named))!r}"
    return reason


def chosen(model: nn.Module, choice: Choice, option: str) -> set[str]:
    """Return the names of the candidates that a choice fits.

    Raises:
        ValueError: If a pattern fits no candidate; it names `option` and the pattern.
    """
    layer_of = {id(place.trained): place.layer for place in places(model)}
    named = candidates(model)
    if callable(choice):
        owner = {n: model.get_submodule(n.rpartition(".")[0]) for n in named}
        return {n for n, p in named.items() if choice(n, layer_of.get(id(p), owner[n]))}
    found: set[str] = set()
    for pattern in [choice] if isinstance(choice, str) else choice:
        fitting = {name for name in named if any(fnmatchcase(n, pattern) for n in _prefixes(name))}
        if not fitting:
            raise ValueError(
                f"{option} {pattern!r} fits no weight; the model has {listed(list(named), 5)}"
            )
        found |= fitting
    return found


def _prefixes(name: str) -> Iterator[str]:
    """Yield "a", "a.b" and "a.b.weight" for "a.b.weight", and the name before parametrisation."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
    if "parametrizations" in parts:
        yield ".".join(part for part in parts[:-1] if part != "parametrizations")


def uncovered(model: nn.Module, weights: Iterable[str], exclude: Choice) -> dict[str, nn.Parameter]:
    """Return the matrices that are neither among `weights` nor excluded, by name.

    A matrix has two or more dimensions that are larger than 1 and does not belong to a
    normalisation.
    """
    named = dict(model.named_parameters())
    known = set(weights) | (chosen(model, exclude, "exclude") if exclude != () else set())
    norms = {
        id(p) for m in model.modules() if "Norm" in type(m).__name__ for p in m._parameters.values()
    }
    return {
        name: p
        for name, p in named.items()
        if name not in known
        and id(p) not in norms
        and not nn.parameter.is_lazy(p)
        and sum(n > 1 for n in p.shape) > 1
    }
