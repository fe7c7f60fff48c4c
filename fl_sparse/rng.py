"""Every random draw: one generator, seeded by a purpose and the numbers it depends on.

A draw is a function of the configuration alone, so that any mask, batch or partition can be recomputed on any machine.
"""

from enum import IntEnum

import numpy as np

WORD = 2**32
"""NumPy's seeds consist of words; a number below this is one word."""


class Purpose(IntEnum):
    """What a draw is for. Numbers are part of the file formats: append, never renumber."""

    MASK = 1
    SHARED_MASK = 2
    SOURCE_SPLIT = 3
    VALIDATION = 4
    PARTITION = 5
    INITIALIZATION = 6
    BATCH = 7
    SUBNET_UNITS = 8
    SUBNET_ORDER = 9
    CLIENT_SAMPLE = 10
    PRETRAIN_ORDER = 11
    PRETRAIN_MASK = 12
    PRETRAIN_CROP = 13
    PROBE = 15
    DROPOUT_UNITS = 16
    ORDERED_WIDTH = 17
    CLIENT_FAILURE = 19
    TRAIN_SUBSET = 20


def generator(purpose: Purpose, *numbers: int) -> np.random.Generator:
    """Return the generator of a draw, seeded by its purpose and non-negative numbers."""
    seeds = [int(purpose), *numbers]
    words = np.array(seeds)
    if words.dtype == np.int64 and min(seeds) >= 0 and max(seeds) < WORD:
        # Convert to words here: NumPy would make the same of the list, and takes half as long again.
        return np.random.default_rng(words.astype(np.uint32))
    return np.random.default_rng(seeds)
