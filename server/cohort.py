"""A simulated cohort: the clients' shared table, standardised once, and every order of a round trained together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.exchange import TrainOrder, TrainReply
from fl_sparse.features.moments import Standardizer
from fl_sparse.federation import TrainingTable, local_rows, standardized
from fl_sparse.local_training import LocalData, train_locally
from fl_sparse.training.namespace import Namespace


class Cohort:
    """Callable for the in-process grid: orders and partition ids in, replies out."""

    def __init__(self, config: RunConfig, training: TrainingTable, namespace: Namespace) -> None:
        self._config = config
        self._training = training
        self._namespace = namespace
        self._features: NDArray[np.float32] | None = None

    def __call__(self, orders: Sequence[TrainOrder], clients: Sequence[int]) -> list[TrainReply]:
        """Train all orders."""
        if self._features is None:
            # The standardizer is frozen in round 0 and reaches every node with its first train message.
            self._features = standardized(self._training.table, _standardizer(orders))
        data = [self._data(client, self._features) for client in clients]
        return train_locally(orders, data, self._namespace)

    def _data(self, client: int, features: NDArray[np.float32]) -> LocalData:
        table = self._training.table
        rows = local_rows(self._config, table, self._training.parts[client], client).training
        return LocalData(features, table.labels, rows, client, table.features.shape[0])


def _standardizer(orders: Sequence[TrainOrder]) -> Standardizer | None:
    return next((order.standardizer for order in orders if order.standardizer is not None), None)
