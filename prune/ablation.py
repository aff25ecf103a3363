"""Sanity checks of a pruning method: change one part of its choice and compare accuracies."""

import torch
from torch import Tensor, nn

from prune.masks import Masks
from prune.probe import Probe
from prune.scores import Score
from prune.scoring import Tensors


def shuffled(masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Permute the entries of each mask at random.

    Of the pruning method, only the density of each tensor remains. The permutations are drawn on
    the CPU, so that one seed gives one mask on every device.

    Args:
        masks: name -> bool tensor. Not changed.
        generator: Of random numbers; None: torch's own.

    Returns:
        name -> bool tensor, keyed and shaped like `masks`, with as many True entries in each.
    """
    return {
        name: mask.flatten()[
            torch.randperm(mask.numel(), generator=generator).to(mask.device)
        ].view_as(mask)
        for name, mask in masks.items()
    }


def inverted(score: Score) -> Score:
    """Return the score -S, which prunes the best weights first.

    Weights of dead units score 0, so they survive longest.
    """

    def worst_first(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
        return {name: -S for name, S in score(model, masks, probe).items()}

    return worst_first
