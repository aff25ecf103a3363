"""Where all randomness comes from."""

import numpy as np

# What a seed is used for; experiments/runs/run.py has 1 to 5, and rank r draws dropout with 8 + r.
ORDER, PICTURES, DROPOUT = 6, 7, 8


def seed_of(*keys: int) -> int:
    """One seed from several numbers, such as (seed, use, epoch): same keys, same seed, anywhere."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))
