"""One model of the zoo: prune it, check the masks, and compare the model with itself before."""

import time
import traceback
import warnings
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten

import prune
from benchmarks.rounds import ROOT
from benchmarks.zoo_models import Built, build
from prune import Probe, connected, prunable

COMPRESSIONS = (10, 100)
PLAIN = (int, float, str, bool, type(None), torch.dtype, torch.device)
Result = dict[str, Any]


def examined(name: str, steps: int | None, device: str) -> Result:
    """Prune a model at each compression.

    Returns:
        A dict that JSON can hold: `weights`, `pruned` (by compression), `said` (the warnings of
        this project), `error` (with `sentence` True if it is one of ours) and `changed` (parts of
        the model that are not as before).
    """
    start = time.perf_counter()
    torch.set_num_threads(1)
    built = build(name)
    built.model.to(device)
    before = state(built.model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pruned, error = attempted(lambda rho: outcome(built, rho, steps))
    return {
        "model": name,
        "steps": steps,
        "device": device,
        "input": described(built.probe),
        "weights": weights(built.model),
        "pruned": pruned,
        "error": error,
        "said": list(dict.fromkeys(map(sentence, filter(is_ours, caught)))),
        "changed": differences(before, state(built.model)),
        "seconds": round(time.perf_counter() - start, 1),
    }


def attempted(prune_at: Callable[[int], Result]) -> tuple[Result, Result | None]:
    """Prune at each compression until an error; return the outcomes and the error."""
    pruned: Result = {}
    for rho in COMPRESSIONS:
        try:
            pruned[str(rho)] = prune_at(rho)
        except Exception as error:
            return pruned, failure(error)
    return pruned, None


def outcome(built: Built, rho: int, steps: int | None) -> Result:
    """Prune at one compression; count the weights left, and look for a path."""
    probe = Probe(**built.probe)
    masks = prune.prune(built.model, "synflow", probe, rho, steps=steps)
    N, kept = (sum(int(f(m)) for m in masks.values()) for f in (torch.numel, torch.sum))
    on_path = connected(built.model, masks, probe)
    return {"kept": kept, "exact": kept == ceil(N / rho), "connected": on_path}


def failure(error: Exception) -> Result:
    """Describe an error: its kind, its text, and whether it is one sentence of this project."""
    frames = traceback.extract_tb(error.__traceback__)
    raised_here = Path(frames[-1].filename).is_relative_to(ROOT / "prune")
    plain = type(error) in (ValueError, FloatingPointError) and "\n" not in str(error)
    kind = f"{type(error).__module__}.{type(error).__name__}".removeprefix("builtins.")
    return {
        "kind": kind,
        "text": str(error),
        "sentence": plain and raised_here,
        "traceback": "".join(traceback.format_exception(error)),
    }


def is_ours(warning: warnings.WarningMessage) -> bool:
    """Return True for the warnings of this project."""
    return warning.category.__module__.startswith("prune")


def sentence(warning: warnings.WarningMessage) -> str:
    """Return the kind and the text of a warning."""
    return f"{warning.category.__name__}: {warning.message}"


def weights(model: nn.Module) -> int | None:
    """Return the number of prunable weights, or None where there is none."""
    try:
        return sum(weight.numel() for weight in prunable(model).values())
    except ValueError:
        return None


def described(probe: Result) -> str:
    """Format the input: its shape, or its shapes by name."""
    if "input_shape" in probe:
        return "x".join(map(str, probe["input_shape"]))
    return ", ".join(f"{k} {'x'.join(map(str, t.shape))}" for k, t in probe["example"].items())


def state(model: nn.Module) -> Result:
    """Return copies of everything that a model holds, by module and attribute.

    Parameters, buffers and other tensors count by their values, dtype and requires_grad; numbers
    and texts by their value; hooks, modules and other objects by their identity.
    """
    return {
        f"{name or type(module).__name__}.{attribute}": held(value)
        for name, module in model.named_modules(remove_duplicate=False)
        for attribute, value in vars(module).items()
    }


def held(value: Any) -> tuple[Any, list[Any]]:
    """Return the structure of the containers in a value, and copies of their contents."""
    leaves, structure = tree_flatten(value)
    return structure, [copied(leaf) for leaf in leaves]


def copied(leaf: Any) -> Any:
    """Return a value that can be compared later."""
    if isinstance(leaf, torch.Tensor):
        return id(leaf), leaf.requires_grad, leaf.grad is None, leaf.detach().clone()
    return leaf if isinstance(leaf, PLAIN) else id(leaf)


def differences(before: Result, after: Result) -> list[str]:
    """Return the names of the attributes that are not as before."""
    both = before.keys() & after.keys()
    return sorted(
        (before.keys() ^ after.keys())
        | {name for name in both if not same(before[name], after[name])}
    )


def same(a: Any, b: Any) -> bool:
    """Compare two values of `state`; NaN equals NaN."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)
