"""Repeat the functions of a tape on small matrices and few pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from prune.fast.maps import NONE, Plateau, SmallMap
from prune.fast.plateaus import full, ruled
from prune.fast.tape import Entry, Tape, filled
from prune.positive import summed
from prune.scoring import Tensors

Held = dict[int, Any]  # place -> a tensor or a SmallMap
Run = Callable[..., Any]


def replay(tape: Tape, theta: Tensors, run: Run, small: bool) -> Tensor:
    """Return R (Eq. 5), a tensor () with its graph.

    Args:
        tape: The functions of the network.
        theta: The weights that the tape does not hold.
        run: Computes run(func, ...) in place of func(...).
        small: Hold the input, an image of ones (1, C, H, W), as a map of one pixel.
    """
    held: Held = {place: theta[name] for name, place in tape.theta.items()}
    held |= tape.constants
    held |= {place: _one_pixel(x) if small else x.clone() for place, x in tape.inputs.items()}
    for entry in tape.entries:
        if entry.grad:
            _repeat(entry, held, run)
        else:
            with torch.no_grad():
                _repeat(entry, held, run)
    return summed((full(held[place]) for place in tape.outputs), tape.scale)


def plainly(func: Run, *args: Any, **kwargs: Any) -> Any:
    """Return func(*args, **kwargs)."""
    return func(*args, **kwargs)


def _one_pixel(x: Tensor) -> SmallMap:
    height, width = x.shape[2:]
    return SmallMap(x[..., :1, :1].clone(), (Plateau(0, height), Plateau(0, width)))


def _repeat(entry: Entry, held: Held, run: Run) -> None:
    """Run one entry, keep its results, and let go of what nothing reads afterwards."""
    result = _ruled(entry, held, run)
    if result is None:
        out = run(entry.func, *filled(entry.args, held), **filled(entry.kwargs, held))
        leaves = [out] if isinstance(out, Tensor) else tree_leaves(out)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        held.update(zip(entry.results, tensors, strict=True))
    else:
        (place,) = entry.results
        held[place] = result.image if result.plateaus == (NONE, NONE) else result
    for place in entry.last:
        held.pop(place, None)


def _ruled(entry: Entry, held: Held, run: Run) -> SmallMap | None:
    """Return the result by a rule for maps; without one, put full maps in place of small ones."""
    small = [place for place in entry.reads if isinstance(held[place], SmallMap)]
    if not small:
        return None
    args, kwargs = filled(entry.args, held), filled(entry.kwargs, held)
    result = ruled(entry.func, partial(run, entry.func), args, kwargs)
    if result is None:
        for place in small:
            held[place] = full(held[place])
    return result
