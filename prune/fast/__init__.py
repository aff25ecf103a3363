"""SynFlow, computed faster; the masks are the same. README.md explains how.

`prune.pruning` needs two functions of this folder and works without it.
"""

from prune.fast.algorithm import certified, scheduled

__all__ = ["certified", "scheduled"]
