"""One client's rows of a table: what it trains on, and what it keeps back to evaluate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.data.stratified import validation_split
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import FeatureStatistics, Standardizer, statistics_of
from fl_sparse.federation.tables import FeatureTable


@dataclass(frozen=True)
class LocalRows:
    """Rows of a table, int64; ``held_out`` is empty unless clients evaluate."""

    training: NDArray[np.int64]
    held_out: NDArray[np.int64]


def local_rows(config: RunConfig, table: FeatureTable, rows: NDArray[np.int64], client: int) -> LocalRows:
    """Split a client's rows; with ``evaluate = clients`` a stratified tenth is kept back.

    Raises
    ------
    InputError
        If the client holds too few images to keep any back.
    """
    if config.evaluate != "clients":
        return LocalRows(rows, np.empty(0, dtype=np.int64))
    if len(rows) < 2:
        raise InputError(f"client {client} holds {len(rows)} image; evaluate = 'clients' needs 2 or more")
    training, held_out = validation_split(table.labels[rows], data_seed=config.data_seed)
    return LocalRows(rows[training], rows[held_out])


def local_statistics(table: FeatureTable, rows: NDArray[np.int64]) -> FeatureStatistics:
    """Return the statistics of a client's features over all views, in float64."""
    views, images, width = table.features.shape
    places = (np.arange(views)[:, None] * images + rows).reshape(-1)
    return statistics_of(table.features.reshape(views * images, width), places)


def standardized(table: FeatureTable, standardizer: Standardizer | None) -> NDArray[np.float32]:
    """Return the table's features as one float32 matrix (V·n, F), standardised if the federation does so."""
    views, images, width = table.features.shape
    flat = table.features.reshape(views * images, width)
    return flat if standardizer is None else standardizer(flat)
