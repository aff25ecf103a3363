"""The same masks on all ranks of torch.distributed.

Nothing here but `share_masks` waits for another rank: digests of the masks go through the
store that the ranks have had since they met.
"""

import hashlib
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor

from prune.masks import Masks

_pending: dict[str, str] = {}  # digests of names and shapes -> of masks, to be compared once more


def share_masks(masks: Masks, group: Any = None) -> dict[str, Tensor]:
    """Return the masks of the first rank, on all ranks. All ranks call it.

    Args:
        masks: name -> bool tensor; on the first rank they count, elsewhere they tell the device.
        group: The process group; None: all ranks.

    Returns:
        name -> bool tensor, each on the device of this rank's mask of that name, or on the CPU.
    """
    if not dist.is_available() or not dist.is_initialized():
        return dict(masks)
    sent = [{name: mask.cpu() for name, mask in masks.items()}]
    dist.broadcast_object_list(sent, group=group, group_src=0)
    return {n: mask.to(masks[n].device if n in masks else "cpu") for n, mask in sent[0].items()}


def compare(masks: Masks) -> None:
    """Tell the other ranks which masks are applied here, then compare with theirs.

    Of two ranks at least the one that is later to apply its masks sees the other's.

    Raises:
        ValueError: If another rank has applied other masks to weights of the same names and shapes.
    """
    store = _store()
    if store is None or any(hasattr(mask, "to_local") for mask in masks.values()):
        return
    shapes = _digest(repr((name, tuple(mask.shape))).encode() for name, mask in masks.items())
    bits = (np.packbits(mask.cpu().numpy()).tobytes() for mask in masks.values())
    mine, rank = _digest(bits), dist.get_rank()
    store.set(_key(shapes, rank, _count(store, shapes, rank) + 1), mine)
    store.add(_key(shapes, rank, 0), 1)
    _compare(store, shapes, mine)
    _pending[shapes] = mine


def compare_once() -> None:
    """Compare with the other ranks once more, at the first step of an optimizer after `apply`.

    Raises:
        ValueError: As `compare`.
    """
    while _pending:
        shapes, mine = _pending.popitem()
        if (store := _store()) is not None:
            _compare(store, shapes, mine)


def _compare(store: dist.Store, shapes: str, mine: str) -> None:
    """Raise ValueError if another rank has other masks.

    A rank that has applied masks more often has had these, one that has done so as often has them.
    """
    here = dist.get_rank()
    own = _count(store, shapes, here)
    for rank in range(dist.get_world_size()):
        count = _count(store, shapes, rank)
        earliest = count if count == own else 1
        turns = range(earliest, count + 1) if count >= own > 0 else ()
        theirs = [store.get(_key(shapes, rank, turn)).decode() for turn in turns]
        if theirs and mine not in theirs:
            raise ValueError(
                f"rank {here} and rank {rank} have different masks for the same "
                "weights: call masks = share_masks(masks) on all ranks before apply"
            )


def _count(store: dist.Store, shapes: str, rank: int) -> int:
    """Return how often a rank has applied masks of these names and shapes."""
    return store.add(_key(shapes, rank, 0), 0)


def _store() -> dist.Store | None:
    """Return the store of all ranks; None where there is one process."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    return dist.distributed_c10d._get_default_store()


def _key(shapes: str, rank: int, count: int) -> str:
    return f"synflow/{shapes}/{rank}/{count}"


def _digest(parts: Any) -> str:
    """Return the SHA-256 of some bytes, in their order."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()
