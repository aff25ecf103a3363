"""Prune any torch.nn.Module at initialisation, without data sets and training.

`__all__` is the stable API; README.md states its guarantees.
"""

from prune.architecture import architecture_flow
from prune.compact import compact
from prune.connected import connected, effective
from prune.enforce import apply, release
from prune.exchange import importance, masks_of, to_torch
from prune.masks import density, load_masks, save_masks
from prune.notices import LayerCollapse, NoFlow, Uncovered
from prune.probe import Probe
from prune.pruning import prune
from prune.scores import SCORES
from prune.sharing import share_masks
from prune.steps import Step
from prune.weights import prunable

__all__ = [
    "SCORES",
    "LayerCollapse",
    "NoFlow",
    "Probe",
    "Step",
    "Uncovered",
    "apply",
    "architecture_flow",
    "compact",
    "connected",
    "density",
    "effective",
    "importance",
    "load_masks",
    "masks_of",
    "prunable",
    "prune",
    "release",
    "save_masks",
    "share_masks",
    "to_torch",
]
