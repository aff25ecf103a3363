"""A physically smaller network with the same outputs: channels that no layer reads are removed."""

from prune.compact.narrow import compact
from prune.compact.trainable import trainable

__all__ = ["compact", "trainable"]
