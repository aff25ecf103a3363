"""Warnings of `prune`, each of a category of its own, to be ignored or made an error."""

from collections.abc import Sequence


class LayerCollapse(UserWarning):
    """No path of kept weights leads from input to output any more (Sec. 3)."""


class Uncovered(UserWarning):
    """Some matrices of the model are neither pruned nor excluded."""


class NoFlow(UserWarning):
    """Some weights score 0 from the start, so they go first whatever their values are."""


def listed(names: Sequence[str], most: int) -> str:
    """Return the first names of a list, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
