"""Which examples a client's local step sees, as a function of the configuration alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_sparse.rng import Purpose, generator


def batch_rows(
    num_examples: int, batch_size: int, *, seed: int, partition_id: int, first_step: int, steps: int
) -> NDArray[np.int64]:
    """Return which examples some consecutive local steps take.

    Steps are counted over rounds, whether or not the client took part. With E = ⌈n/b⌉ batches in an epoch, step t takes
    batch t mod E of the permutation drawn from (seed, partition id, ⌊t/E⌋). An epoch's last batch may be short.

    Parameters
    ----------
    num_examples
        n, at least 1.
    batch_size
        b, at least 1.
    seed, partition_id
        The permutations are drawn from these.
    first_step
        t of the first of these steps.
    steps
        τ, the number of steps.

    Returns
    -------
    int64 (τ, min(b, n))
        Positions among the client's n examples; -1 where a short batch has none.
    """
    width = min(batch_size, num_examples)
    epoch_steps = -(-num_examples // batch_size)
    rows = np.full((steps, width), -1, dtype=np.int64)
    step = first_step
    while step < first_step + steps:
        epoch, position = divmod(step, epoch_steps)
        taken = min(epoch_steps - position, first_step + steps - step)
        order = generator(Purpose.BATCH, seed, partition_id, epoch).permutation(num_examples)
        examples = order[position * batch_size : (position + taken) * batch_size]
        start = (step - first_step) * width
        rows.reshape(-1)[start : start + len(examples)] = examples
        step += taken
    return rows
