"""A physically smaller network with the same outputs: channels that no layer reads are removed."""

from prune.compact.narrow import compact, parameters_left
from prune.compact.trainable import trainable

__all__ = ["compact", "parameters_left", "trainable"]
