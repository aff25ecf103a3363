"""Prune any torch.nn.Module at initialisation, without data sets and training.

`__all__` is the stable API; README.md states its guarantees.
"""

from prune.compact import compact
from prune.connected import connected
from prune.enforce import apply, release
from prune.masks import density, load_masks, prunable, save_masks
from prune.pruning import prune
from prune.scores import SCORES
from prune.scoring import Probe
from prune.steps import Step

__all__ = [
    "SCORES",
    "Probe",
    "Step",
    "apply",
    "compact",
    "connected",
    "density",
    "load_masks",
    "prunable",
    "prune",
    "release",
    "save_masks",
]
