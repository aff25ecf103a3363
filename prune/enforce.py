"""Hold pruned weights at 0 for good, in a model that stays an ordinary model.

Names, classes, buffers, state_dict keys and parameters do not change. The masks of a module are
in a hook on it, which follows the module through deepcopy, pickle and torch's quantization.
Three guards use them:

* Pruned weights are set to 0 before each forward pass, before `state_dict()` and after
  `load_state_dict()`. This is done before a module runs, before its parent runs, and before the
  model that was given to `apply` runs: some modules only read the weights of others.
* Their gradient is set to 0 after each backward pass.
* They are set to 0 after each step of any torch optimizer, which may move them by momentum from
  before pruning. This takes one hook for all optimizers, registered at the first `apply`.

weight_norm, spectral_norm or torch.nn.utils.prune put on later: the mask moves to the tensor that
is trained. Parametrizations that mix weights, and sharding after `apply`, are refused at the next
forward pass. torch.export and torch.onnx.export leave the guards out; the weights are 0 already.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from prune import sharing
from prune.held import as_kept, hold, let_go, mask_of, sharded
from prune.masks import Masks, check_masks
from prune.moved import parameter, place_of, resharded
from prune.norms import with_norms
from prune.weights import candidates

Places = dict[int, list[tuple[nn.Module, str]]]
Parents = dict[int, list[nn.Module]]


def apply(model: nn.Module, masks: Masks) -> None:
    """Set pruned weights to 0, in every forward pass from now on (Algorithm 1, line 7).

    They stay 0 under any optimizer, with momentum from before, weight decay, deepcopy and a
    state_dict saved or loaded at any time. Applying again replaces the masks. The first call in
    a process registers one hook that runs after each step of every torch optimizer.

    A copy that was made before, such as an EMA of the weights, is another model: it averages
    zeros and weights from before. Apply the masks to it too.

    Args:
        model: Changed in place; keeps its class, parameter names and state_dict keys.
        masks: name -> bool tensor, shaped like the parameter of that name, which has two or more
            dimensions; True = kept. Copied. Shard a model (fully_shard) before applying them.

    Raises:
        ValueError: If a mask fits no prunable weight, empties a weight that spectral_norm
            divides by its norm, or another rank of torch.distributed has applied other masks;
            then nothing is changed.
    """
    resharded(model)
    check_masks(model, masks)
    weights = candidates(model)
    sharing.compare(masks)
    places, parents = _places(model), _parents(model)
    for name, mask in with_norms(model, masks).items():
        kept = as_kept(mask, weights[name])
        for owner, path in places[id(weights[name])]:
            guard = guard_of(owner) or _watch(owner, parents[id(owner)], model)
            guard.replace(owner, path, kept)
        hold(weights[name], kept)
    for module in model.modules():
        _run_guard(module)


def release(model: nn.Module) -> nn.Module:
    """Set pruned weights to 0 once more, then remove the masks and all hooks.

    Nothing of this project is left: `torch.save(model)` loads where it is not installed, and
    torch.jit.script and torch.export take the model. Masks of torch.nn.utils.prune stay.

    Returns:
        The same model; its weights may grow back from now on.
    """
    for module in model.modules():
        with suppress(RuntimeError):  # of weights that are no longer there
            _run_guard(module)
        hooks: tuple[dict[int, Any], ...] = (
            module._forward_pre_hooks,
            module._state_dict_pre_hooks,
            module._load_state_dict_post_hooks,
        )
        for registered in hooks:
            for key in [key for key, hook in registered.items() if is_guard(hook)]:
                del registered[key]
    for weight in model.parameters():
        let_go(weight)
    return model


def is_guard(hook: object) -> bool:
    """Return True for a hook that `apply` has registered on a module."""
    return isinstance(hook, _Hook)


def guard_of(module: nn.Module) -> "Guard | None":
    """Return the guard of the module's own weights, if it has one."""
    found = (hook for hook in module._forward_pre_hooks.values() if isinstance(hook, Guard))
    return next(found, None)


class _Hook:
    """A hook that torch.jit.script refuses in plain words; it asks for the name first."""

    @property
    def __name__(self) -> str:
        raise AttributeError(
            "torch.jit.script cannot read the guards of a masked model: call release(model) first",
            name="__name__",  # with it Python adds no guess of its own
        )


class Guard(_Hook):
    """The masks of one module's weights, and the hook that sets pruned weights to 0."""

    def __init__(self) -> None:
        self.masks: dict[str, Tensor] = {}  # path of the trained tensor below the module -> bool

    def __call__(self, module: nn.Module, *_: object) -> None:
        """Set the module's pruned weights to 0."""
        if torch.compiler.is_exporting():
            return
        for path, kept in list(self.masks.items()):
            weight: Tensor | None = module._parameters.get(path)
            if weight is None:
                weight = self._found(module, path, kept)
            if weight is None or weight.is_meta or sharded(kept) > sharded(weight):
                continue  # fully_shard's whole stand-in of a weight; the shards are held
            mask = kept.to(weight.device)
            if not torch.compiler.is_compiling():
                mask = _mask_for(module, weight, kept)
            # .data, because autograd's version counter must not move between two passes.
            weight.data.mul_(mask)

    def replace(self, module: nn.Module, path: str, kept: Tensor) -> None:
        """Hold the weight at `path` by this mask, and by no earlier one."""
        for other, mask in list(self.masks.items()):
            if parameter(module, other) is None and place_of(module, other, mask) == path:
                del self.masks[other]
        self.masks[path] = kept

    def _found(self, module: nn.Module, path: str, kept: Tensor) -> Tensor | None:
        """Return the tensor that is trained in place of the weight, and remember its path."""
        if getattr(module, "_is_replica", False):  # of nn.DataParallel: has no parameters
            return getattr(module, path, None)
        weight = parameter(module, path)
        if weight is None and (place := place_of(module, path, kept)) is not None:
            self.masks[place] = self.masks.pop(path)
            weight = parameter(module, place)
        return weight


class _Below(_Hook):
    """A hook that runs the guards of a module's children, or of all modules below it."""

    def __init__(self, deep: bool) -> None:
        self.deep = deep

    def __call__(self, module: nn.Module, *_: object) -> None:
        """Set the pruned weights below the module to 0."""
        for layer in module.modules() if self.deep else module.children():
            if layer is not module:
                _run_guard(layer)


def _run_guard(module: nn.Module) -> None:
    """Set the module's pruned weights to 0, if it has masks."""
    guard = guard_of(module)
    if guard is not None:
        guard(module)


def _mask_for(module: nn.Module, weight: Tensor, kept: Tensor) -> Tensor:
    """Return the mask as numbers. Guard the weight if it is new, as after deepcopy."""
    mask = mask_of(weight)
    if mask is not None:
        return mask
    if weight.shape != kept.shape:
        raise RuntimeError(
            f"a {type(module).__name__} has a weight of shape {tuple(weight.shape)} and a mask of "
            f"shape {tuple(kept.shape)}: call release(model), or apply masks that fit"
        )
    if sharded(weight) != sharded(kept) or resharded(module):
        raise RuntimeError("the model was sharded after apply: apply the masks once more")
    return hold(weight, kept) if isinstance(weight, nn.Parameter) else kept.to(weight)


def _places(model: nn.Module) -> Places:
    """Return by the id of each parameter: all modules that have it, and its path below each.

    A layer has the tensors of its parametrizations: it outlives them.
    """
    places: Places = {}
    for name, module in model.named_modules():
        above, under, below = f".{name}.".partition(".parametrizations.")
        owner = model.get_submodule(above.strip(".")) if under else module
        prefix = f"parametrizations.{below}" if under else ""
        for path, weight in module._parameters.items():
            places.setdefault(id(weight), []).append((owner, prefix + path))
    return places


def _parents(model: nn.Module) -> Parents:
    """Return by the id of each module: those that have it as a child."""
    parents: Parents = {id(model): []}
    for module in model.modules():
        for child in module.children():
            parents.setdefault(id(child), []).append(module)
    return parents


def _watch(owner: nn.Module, parents: list[nn.Module], model: nn.Module) -> Guard:
    """Register a guard without masks on the owner, and on the modules that may read its weights."""
    guard = Guard()
    owner.register_forward_pre_hook(guard, prepend=True)  # before weight_norm and FSDP
    owner.register_state_dict_pre_hook(guard)
    owner.register_load_state_dict_post_hook(guard)
    readers = [parent for parent in parents if type(parent) is not nn.Sequential]
    for reader in {*readers, model} - {owner}:  # a Sequential calls its children
        if not any(isinstance(hook, _Below) for hook in reader._forward_pre_hooks.values()):
            reader.register_forward_pre_hook(_Below(deep=reader is model), prepend=True)
    return guard


def emptied(model: nn.Module, name: str) -> bool:
    """Return True if the masks of `apply` leave nothing of a parameter."""
    mask = mask_of(model.get_parameter(name))
    return mask is not None and not mask.any()
