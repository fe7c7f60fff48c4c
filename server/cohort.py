"""A simulated cohort: one table shared by the clients, standardised as it is read, and a round's orders in stacks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fl_sparse.codec.error_feedback import Residual, encode_update
from fl_sparse.config import RunConfig
from fl_sparse.data.client_rows import ClientRows
from fl_sparse.features.statistics import Standardizer
from fl_sparse.federation import TrainingTable, federation_statistics, local_rows, standardized
from fl_sparse.learn.array_ops import ArrayOps
from fl_sparse.learn.local_training import LocalData, train_in_turn
from fl_sparse.shard.size import training_bytes
from fl_sparse.wire.exchange import TrainOrder, TrainReply
from server.population import Population


class Cohort:
    """Callable for the in-process grid: orders and partition ids in, replies out, a part of the cohort at a time."""

    def __init__(self, config: RunConfig, training: TrainingTable, ops: ArrayOps) -> None:
        self._config = config
        self._training = training
        self._ops = ops
        self._standardizer: Standardizer | None = None
        # A device keeps its own; here they are one model a client that has trained under error feedback.
        self._residuals: dict[int, Residual] = {}
        self._parts = _training_parts(config, training)

    def population(self, nodes: range) -> Population:
        """Return what all clients would answer to round 0's question; statistics are taken when asked for."""
        table = self._training.table
        return Population(
            nodes=nodes,
            sizes=self._parts.sizes,
            views=table.features.shape[0],
            num_features=table.features.shape[2],
            classes=table.classes,
            capacity_of=self._config.capacity_of,
            statistics=lambda: federation_statistics(table, self._parts),
            shard_bytes=None if table.shard is None else training_bytes(table.shard, self._parts),
        )

    def __call__(self, orders: Sequence[TrainOrder], clients: Sequence[int]) -> Iterator[TrainReply]:
        """Train all orders."""
        if self._standardizer is None:
            # Frozen in round 0, it reaches every node with its first train message.
            self._standardizer = _standardizer(orders)
        trained = train_in_turn(orders, [self._data(client) for client in clients], self._ops)
        return map(self._encode, orders, clients, trained)

    def _encode(self, order: TrainOrder, client: int, trained: TrainReply) -> TrainReply:
        reply, residual = encode_update(order, trained, self._residuals.pop(client, None))
        if residual is not None:
            self._residuals[client] = residual
        return reply

    def _data(self, client: int) -> LocalData:
        table, rows = self._training.table, self._parts[client]
        return LocalData(self._features, table.labels, rows, client, table.features.shape[0], self._standardizer)

    @functools.cached_property
    def _features(self) -> NDArray[np.float32]:
        """The table as one matrix, float32 (V·n, F), not standardised: that is done to what is read of it."""
        return standardized(self._training.table, None)


def _training_parts(config: RunConfig, training: TrainingTable) -> ClientRows:
    """Return each client's training rows, without what it keeps back to evaluate."""
    if config.evaluate != "clients":
        return training.parts
    split = (local_rows(config, training.table, rows, client) for client, rows in enumerate(training.parts))
    return ClientRows.of(rows.training for rows in split)


def _standardizer(orders: Sequence[TrainOrder]) -> Standardizer | None:
    return next((order.standardizer for order in orders if order.standardizer is not None), None)
