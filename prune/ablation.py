"""Sanity checks of a pruning method: spoil one part of its choice and see whether that matters."""

import torch
from torch import Tensor, nn

from prune.masks import Masks
from prune.scores import Score
from prune.scoring import Probe, Tensors


def shuffled(masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Move the kept weights of each tensor to random places; each keeps its number of them.

    What remains of the method is how many weights it leaves in each layer. Drawn on the CPU, so
    that one seed gives one mask on every device.
    """
    return {
        name: mask.flatten()[
            torch.randperm(mask.numel(), generator=generator).to(mask.device)
        ].view_as(mask)
        for name, mask in masks.items()
    }


def inverted(score: Score) -> Score:
    """The score with the opposite ranking: what mattered most is pruned first.

    It is -S, so that scores of 0 (weights of dead units) need no division and survive longest.
    """

    def worst_first(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
        return {name: -S for name, S in score(model, masks, probe).items()}

    return worst_first
