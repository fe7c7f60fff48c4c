"""The statistics of all clients of a simulated federation, without a message or an object for each.

Symbols: V views, n_k rows of client k, F features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fl_sparse.data.client_rows import ClientRows
from fl_sparse.features.statistics import BLOCK_ROWS, FeatureStatistics, RunningStatistics
from fl_sparse.federation.local import local_statistics
from fl_sparse.federation.tables import FeatureTable

BLOCK_VALUES = 1 << 17
"""Values of one block of clients: in float64 they stay in a core's second-level cache."""


def federation_statistics(table: FeatureTable, parts: ClientRows) -> FeatureStatistics:
    """Return the clients' statistics, merged in their order: bit for bit what merging `local_statistics` of each gives.

    Neighbours with equally many rows are taken together, so that a hundred thousand small clients cost their rows and
    not their number; memory is that of one block.

    Raises
    ------
    ValueError
        If no client holds a row.
    """
    running = RunningStatistics(table.features.shape[2])
    held: NDArray[np.int64] | None = None
    for first, end in _alike(parts, table.features.shape[0] * table.features.shape[2]):
        rows = parts.rows[parts.offsets[first] : parts.offsets[end]].reshape(end - first, -1)
        if table.features.shape[0] * rows.shape[1] > BLOCK_ROWS or table.features.shape[2] == 1:
            for own in rows:
                # Under partition 'full' all clients hold the same rows.
                if held is None or not np.array_equal(own, held):
                    held, statistics = own, local_statistics(table, own)
                running.add(statistics)
        elif rows.size:
            running.add_all(rows.shape[1] * table.features.shape[0], *_statistics(table.features, rows))
    return running.statistics()


def _alike(parts: ClientRows, row_values: int) -> Iterator[tuple[int, int]]:
    """Cut the clients into runs of equal n_k, none of more than `BLOCK_VALUES` values unless it is one client."""
    sizes = parts.sizes
    starts = np.flatnonzero(np.concatenate([[True], np.diff(sizes) != 0, [True]]))
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        step = max(1, BLOCK_VALUES // max(1, int(sizes[start]) * row_values))
        for first in range(start, stop, step):
            yield first, min(first + step, stop)


def _statistics(
    features: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and M2 of each client, float64 (clients, F), given its rows, int64 (clients, n_k)."""
    views, _, width = features.shape
    # A client's rows of the first view come first, as in its own table.
    held = features[:, rows].swapaxes(0, 1).reshape(len(rows), views * rows.shape[1], width).astype(np.float64)
    means = held.mean(axis=1)
    held -= means[:, None]
    return means, np.square(held, out=held).sum(axis=1)
