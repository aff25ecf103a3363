"""Prune any torch.nn.Module at initialisation. Knows no data set and no training."""

from prune.enforce import apply
from prune.fast.flow import connected
from prune.masks import density, load_masks, prunable, save_masks
from prune.pruning import Step, prune
from prune.scores import SCORES, Probe

__all__ = [
    "SCORES",
    "Probe",
    "Step",
    "apply",
    "connected",
    "density",
    "load_masks",
    "prunable",
    "prune",
    "save_masks",
]
