"""A simulated cohort: the clients' shared table, standardised once, and every order of a round trained together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.data.client_rows import ClientRows
from fl_sparse.error_feedback import Residual, encode_update
from fl_sparse.exchange import TrainOrder, TrainReply
from fl_sparse.features.moments import Standardizer
from fl_sparse.federation import TrainingTable, federation_moments, local_rows, standardized
from fl_sparse.local_training import LocalData, train_locally
from fl_sparse.shard.size import training_bytes
from fl_sparse.training.namespace import Namespace
from server.population import Population


class Cohort:
    """Callable for the in-process grid: orders and partition ids in, replies out."""

    def __init__(self, config: RunConfig, training: TrainingTable, namespace: Namespace) -> None:
        self._config = config
        self._training = training
        self._namespace = namespace
        self._features: NDArray[np.float32] | None = None
        # A device keeps its own; here they are one model a client that has trained under error feedback.
        self._residuals: dict[int, Residual] = {}
        self._parts = _training_parts(config, training)

    def population(self, nodes: range) -> Population:
        """Return what all clients would answer to round 0's question; the moments are taken when they are asked for."""
        table = self._training.table
        return Population(
            nodes=nodes,
            sizes=self._parts.sizes,
            views=table.features.shape[0],
            num_features=table.features.shape[2],
            classes=table.classes,
            capacity_of=self._config.capacity_of,
            moments=lambda: federation_moments(table, self._parts),
            shard_bytes=None if table.shard is None else training_bytes(table.shard, self._parts),
        )

    def __call__(self, orders: Sequence[TrainOrder], clients: Sequence[int]) -> list[TrainReply]:
        """Train all orders."""
        if self._features is None:
            # The standardizer is frozen in round 0 and reaches every node with its first train message.
            self._features = standardized(self._training.table, _standardizer(orders))
        data = [self._data(client, self._features) for client in clients]
        trained = train_locally(orders, data, self._namespace)
        return [self._encode(*work) for work in zip(orders, clients, trained, strict=True)]

    def _encode(self, order: TrainOrder, client: int, trained: TrainReply) -> TrainReply:
        reply, residual = encode_update(order, trained, self._residuals.pop(client, None))
        if residual is not None:
            self._residuals[client] = residual
        return reply

    def _data(self, client: int, features: NDArray[np.float32]) -> LocalData:
        table = self._training.table
        return LocalData(features, table.labels, self._parts[client], client, table.features.shape[0])


def _training_parts(config: RunConfig, training: TrainingTable) -> ClientRows:
    """Return each client's training rows, without what it keeps back to evaluate."""
    if config.evaluate != "clients":
        return training.parts
    split = (local_rows(config, training.table, rows, client) for client, rows in enumerate(training.parts))
    return ClientRows.of(rows.training for rows in split)


def _standardizer(orders: Sequence[TrainOrder]) -> Standardizer | None:
    return next((order.standardizer for order in orders if order.standardizer is not None), None)
