"""One step of Algorithm 1, as `prune` reports it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """The outcome of one pruning step."""

    step: int
    kept: int  # weights that survive it
    R: float | None  # the synflow objective before the step; None for other scores
    prune_cut_ratio: float | None  # total score removed / R (Theorem 4)
    rescore: Callable[[], dict[str, Tensor]]
    remask: Callable[[], dict[str, Tensor]]

    @cached_property
    def scores(self) -> dict[str, Tensor]:
        """Scores that the step ranked, computed again from the model on first use."""
        return self.rescore()

    @cached_property
    def masks(self) -> dict[str, Tensor]:
        """Masks that the step left."""
        return self.remask()
