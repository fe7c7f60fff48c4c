"""What this node holds: a shard file of its own, or its share of a simulated federation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import FIELDS, RunConfig, from_mapping
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer
from fl_sparse.federation import FeatureTable, LocalRows, device_table, local_rows, training_table


@dataclass(frozen=True, eq=False)
class HeldData:
    """A node's table of features and its rows in it."""

    partition_id: int
    capacity: float
    table: FeatureTable = field(repr=False)
    rows: LocalRows = field(repr=False)


def held_data(run_config: Mapping[str, Any], node_config: Mapping[str, Any]) -> HeldData:
    """Return what a node holds; cached while the process lives, since Ray's workers serve many messages.

    Raises
    ------
    InputError
        If the node's configuration names no partition, or its data cannot be used.
    """
    known = {key: value for key, value in run_config.items() if key in FIELDS}
    config = from_mapping(known, source="run config")
    client = _number(node_config, "partition-id")
    shard = str(node_config.get("shard", ""))
    capacity = node_config.get("capacity", config.capacity_of(client))
    if isinstance(capacity, bool) or not isinstance(capacity, int | float) or not 0.0 < capacity <= 1.0:
        raise InputError(f"client {client}: capacity = {capacity!r} in the node config; expected above 0, at most 1")
    partitions = 0 if shard else _number(node_config, "num-partitions")
    return _held_data(config, client, partitions, shard, float(capacity))


@functools.lru_cache(maxsize=64)
def _held_data(config: RunConfig, client: int, partitions: int, shard: str, capacity: float) -> HeldData:
    if shard:
        table = device_table(config, Path(shard))
        rows: NDArray[np.int64] = np.arange(len(table.labels))
    else:
        whole = training_table(config, partitions)
        if not 0 <= client < len(whole.parts):
            raise InputError(f"partition-id = {client} in the node config; expected 0 to {len(whole.parts) - 1}")
        table, rows = whole.table, whole.parts[client]
    return HeldData(client, capacity, table, local_rows(config, table, rows, client))


def training_rows(data: HeldData, standardizer: Standardizer | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a node's own training features, float32 (V·n_k, F) standardised, and labels int64 (n_k,)."""
    if standardizer is None:
        return _training_rows(data, None, None)
    return _training_rows(data, standardizer.mean.tobytes(), standardizer.inverse_std.tobytes())


@functools.lru_cache(maxsize=2)
def _training_rows(
    data: HeldData, mean: bytes | None, inverse_std: bytes | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    views, _, width = data.table.features.shape
    own = data.table.features[:, data.rows.training].reshape(views * len(data.rows.training), width)
    if mean is not None and inverse_std is not None:
        read = Standardizer(np.frombuffer(mean, dtype=np.float32), np.frombuffer(inverse_std, dtype=np.float32))
        own = read(own)
    return own, data.table.labels[data.rows.training]


def _number(node_config: Mapping[str, Any], key: str) -> int:
    value = node_config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{key} = {value!r} in the node config; expected a whole number from 0")
    return value
