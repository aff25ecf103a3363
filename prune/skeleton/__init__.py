"""The positive linear skeleton of a network: how SynFlow reads each operation.

A *stream* is a tensor that depends on the input. With |theta| for theta and ones as input, every
stream is at least 0, and the skeleton is linear in it:

* Pointwise activations are ReLU. Normalisations are their scale.
* Of a product of two streams one is a gate, and open: it is read as 1. That is what a sigmoid or
  softmax returns, or else what an activation returns, or else the second factor. Divisors are 1.
* Attention is the mean over tokens.
* What is added and does not depend on the input (position embeddings, class tokens) is read as 0.
  Differences are read as sums, and constant factors as their magnitude.

So Theorems 1 to 4 hold for the network as it is read.

`mode` has the mode, `rules` the table of functions; `single`, `products`, `joins`, `attention`,
`recurrent` and `normalisations` have one function for each family of operations.
"""

from prune.skeleton.mode import Positive, Readings
from prune.skeleton.normalisations import NORMALISATIONS
from prune.skeleton.rules import RULES, WEIGHTED

__all__ = ["NORMALISATIONS", "RULES", "WEIGHTED", "Positive", "Readings"]
