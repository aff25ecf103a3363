"""Sanity checks of a pruning method: change one part of its choice and compare accuracies."""

import torch
from torch import Tensor, nn

from prune.masks import Masks
from prune.scores import Score
from prune.scoring import Probe, Tensors


def shuffled(masks: Masks, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Move the kept weights of each tensor to random places; each keeps its number of them.

    Only the number of weights in each layer remains of the method. The places are drawn on the
    CPU, so that one seed gives one mask on every device.
    """
    return {
        name: mask.flatten()[
            torch.randperm(mask.numel(), generator=generator).to(mask.device)
        ].view_as(mask)
        for name, mask in masks.items()
    }


def inverted(score: Score) -> Score:
    """Return the score -S, which ranks in the opposite order: the best weights are pruned first.

    Weights of dead units score 0 and so survive longest.
    """

    def worst_first(model: nn.Module, masks: Masks, probe: Probe) -> Tensors:
        return {name: -S for name, S in score(model, masks, probe).items()}

    return worst_first
