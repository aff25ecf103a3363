"""One step of Algorithm 1, as `prune` reports it."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from torch import Tensor


def unscaled(R: float, scale: int) -> Decimal:
    """Return R of Eq. 5 from 4^-scale times it, also beyond the range of a float."""
    return Decimal(R) * Decimal(4) ** scale


@dataclass(frozen=True)
class Step:
    """The result of one pruning step, the k-th of n."""

    step: int  # k, from 1
    kept: int  # weights that survive it
    R: float | None  # (Eq. 5) before the step; None for scores other than synflow
    prune_cut_ratio: float | None  # total score removed / R (Theorem 4); None where R is
    rescore: Callable[[], dict[str, Tensor]]  # computes `scores`
    remask: Callable[[], dict[str, Tensor]]  # computes `masks`
    scale: int = 0  # R and scores are 4^-scale times those of Eq. 5 and 6 (`Probe`)

    @cached_property
    def scores(self) -> dict[str, Tensor]:
        """The scores before the step, name -> tensor, computed on first use.

        The model must not have changed since the step.
        """
        return self.rescore()

    @property
    def unscaled_R(self) -> Decimal | None:
        """R of Eq. 5 without `scale`, also where it is too large or too small for a float."""
        return None if self.R is None else unscaled(self.R, self.scale)

    @cached_property
    def masks(self) -> dict[str, Tensor]:
        """The masks after the step, name -> bool tensor, built on first use."""
        return self.remask()
