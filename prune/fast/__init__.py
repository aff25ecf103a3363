"""SynFlow, computed faster; the masks are the same. README.md explains how.

`prune.pruning` uses three functions of this folder and works without it.
"""

from prune.fast.algorithm import certified, scheduled
from prune.fast.selection import keep_top

__all__ = ["certified", "keep_top", "scheduled"]
