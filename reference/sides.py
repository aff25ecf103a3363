"""The two sides of a claim, with names. Each result equals the plain tuple of its fields."""

from fractions import Fraction
from typing import NamedTuple

from reference.mlp import Real


class Conservation(NamedTuple):
    """The three numbers that Theorem 2 equates."""

    over_C: Real  # the saliency over the set of weights C
    at_inputs: Real  # <dR/dx, x>
    at_outputs: Real  # <dR/dy, y>

    def __repr__(self) -> str:
        """Format with plain numbers."""
        return _named(self)


class Axiom(NamedTuple):
    """Both sides of the Axiom, Maximal Critical Compression (Sec. 3)."""

    path_open: bool  # with these masks
    path_possible: bool  # with some masks that keep as many weights


class Compression(NamedTuple):
    """Both sides of Theorem 3."""

    critical: Fraction  # the largest that the algorithm reaches before it collapses
    maximal: Fraction  # N / L

    def __repr__(self) -> str:
        """Format with plain numbers."""
        return _named(self)


class Step(NamedTuple):
    """One pruning step: the two sizes that Theorem 4 compares, and the outcome."""

    prune_size: Real  # the score that the step removes
    cut_size: Real  # the score over any cut before the step, which is R
    path_open: bool  # after the step

    def __repr__(self) -> str:
        """Format with plain numbers."""
        return _named(self)


def _named(values: Conservation | Compression | Step) -> str:
    fields = ", ".join(f"{name}={value}" for name, value in values._asdict().items())
    return f"{type(values).__name__}({fields})"
