"""The seeds of all random numbers."""

import numpy as np

# Each use of a run's seed has a number of its own: seed_of(seed, use, ...).
INITIAL_WEIGHTS = 1
RANDOM_SCORES = 2
SUBSET = 3  # the images that a score reads
SHUFFLE = 4  # --ablate shuffle
REINIT = 5  # --ablate reinit
ORDER = 6  # the order of the training images, and their augmentation in memory
PICTURES = 7  # the augmentation of images that are decoded from files
DROPOUT = 8  # rank r takes DROPOUT + r, so this number is the last


def seed_of(*keys: int) -> int:
    """Combine several numbers, such as (seed, use, epoch), into one seed of 63 bits.

    Equal numbers give the same seed on every machine.
    """
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))
