"""Checks of `prune` around Algorithm 1: values of weights, coverage, collapse."""

import warnings
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from prune.connected import connected
from prune.held import sharded
from prune.masks import Masks, kept, size
from prune.notices import LayerCollapse, Uncovered, listed
from prune.probe import Probe
from prune.steps import Step
from prune.weights import Choice, uncovered


def check_values(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse a model whose weights have no finite values here, and name them."""
    parameters = dict(model.named_parameters())
    if meta := [name for name, p in parameters.items() if p.is_meta]:
        raise ValueError(
            f"{meta[0]} is on the meta device and has no values; give the model values before "
            "pruning: model.to_empty(device=...), then initialise or load it"
        )
    if parts := [name for name, p in parameters.items() if sharded(p)]:
        raise ValueError(
            f"{parts[0]} is sharded (DTensor); prune before fully_shard, apply the masks after it"
        )
    bad = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if bad:
        raise ValueError(f"weights are not finite (NaN or infinite) in {', '.join(bad)}")


def warn_uncovered(
    model: nn.Module, weights: Iterable[str], layers: Choice | None, exclude: Choice
) -> None:
    """Warn of matrices that are left out by default, unless the weights were chosen by `layers`."""
    if layers is not None:
        return
    left = uncovered(model, weights, exclude)
    if left:
        share = sum(p.numel() for p in left.values()) / sum(p.numel() for p in model.parameters())
        names = [name if p.requires_grad else f"{name} (frozen)" for name, p in left.items()]
        warnings.warn(
            f"{share:.1%} of all parameters are in matrices that are not pruned and do not count: "
            f"{listed(names, 5)}; name them in `layers` to prune them, or in `exclude` "
            "to leave them out without this warning",
            Uncovered,
            stacklevel=4,
        )


class Watch:
    """Find the step that closed the last path.

    SynFlow shows it by R = 0 at the next step. For other scores of several steps the paths are
    looked for after each step.
    """

    def __init__(self, model: nn.Module, start: Masks, probe: Probe, flows: bool, single: bool):
        """Take what `prune` begins with; `flows` for SynFlow, `single` for one step."""
        self.model, self.start, self.probe = model, start, probe
        self.flows, self.single = flows, single
        self.closed_at: int | None = None
        self.last = 0
        self.ratio: float | None = None  # the largest prune/cut ratio of a step

    def after(self, step: Step) -> None:
        """Look at one step."""
        self.last = step.step
        if step.prune_cut_ratio is not None:
            self.ratio = max(self.ratio or 0.0, step.prune_cut_ratio)
        if self.closed_at is not None:
            return
        if self.flows:
            closed = step.step - 1 if step.R == 0 else None
        else:
            closed = step.step if not self.single and not self._open(step.masks) else None
        self.closed_at = closed

    def warn(self, left: Masks) -> None:
        """Warn if the last path was closed by one of the steps."""
        if self.last == 0 or self.closed_at == 0 or (self.closed_at is None and self._open(left)):
            return
        if self._open(self.start):
            step = self.last if self.closed_at is None else self.closed_at
            warnings.warn(
                f"layer-collapse: step {step} of {self.last} closed the last path from input to "
                f"output; {kept(left):,} of {size(left):,} weights are kept. More steps, a lower "
                "compression or schedule='certified' may keep one open",
                LayerCollapse,
                stacklevel=4,
            )

    def _open(self, masks: Masks) -> bool:
        """Return True if a path is open, or if the model cannot be run on the probe."""
        try:
            return connected(self.model, masks, self.probe)
        except ValueError:  # scores that do not run the model need no probe that fits
            return True
