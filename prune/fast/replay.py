"""Repeat the functions of a tape on small matrices and few pixels."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from prune.fast.maps import NONE, Plateau, SmallMap
from prune.fast.plateaus import full, ruled
from prune.fast.products import Products
from prune.fast.tape import Entry, Tape, filled

Held = dict[int, Any]  # place -> a tensor or a SmallMap


def replay(tape: Tape, products: Products, small: bool) -> Tensor:
    """Return R (Eq. 5), a tensor () with its graph, from the weights that `products` has.

    Args:
        tape: The functions of the network.
        products: Computes its layers, and keeps both ends of each product.
        small: Hold the input, an image of ones (1, C, H, W), as a map of one pixel.
    """
    held: Held = {place: products.given[name] for name, place in tape.theta.items()}
    held |= tape.constants
    held |= {place: _one_pixel(x) if small else x.clone() for place, x in tape.inputs.items()}
    for entry in tape.entries:
        if entry.grad:
            _run(entry, held, products)
        else:
            with torch.no_grad():
                _run(entry, held, products)
    return torch.stack([full(held[place]).sum() for place in tape.outputs]).sum()


def _one_pixel(x: Tensor) -> SmallMap:
    height, width = x.shape[2:]
    return SmallMap(x[..., :1, :1].clone(), (Plateau(0, height), Plateau(0, width)))


def _run(entry: Entry, held: Held, products: Products) -> None:
    """Run one entry, keep its results, and let go of what nothing reads afterwards."""
    result = _ruled(entry, held, products)
    if result is None:
        out = products.call(entry.func, *filled(entry.args, held), **filled(entry.kwargs, held))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        held.update(zip(entry.results, tensors, strict=True))
    else:
        (place,) = entry.results
        held[place] = result.image if result.plateaus == (NONE, NONE) else result
    for place in entry.last:
        held.pop(place, None)


def _ruled(entry: Entry, held: Held, products: Products) -> SmallMap | None:
    """Return the result by a rule for maps; without one, put full maps in place of small ones."""
    small = [place for place in entry.reads if isinstance(held[place], SmallMap)]
    if not small:
        return None
    args, kwargs = filled(entry.args, held), filled(entry.kwargs, held)
    result = ruled(entry.func, partial(products.call, entry.func), args, kwargs)
    if result is None:
        for place in small:
            held[place] = full(held[place])
    return result
