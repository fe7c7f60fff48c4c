"""A simulated cohort: clients share one table, standardised as it is read, and are trained in stacks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.codec.residual import Residual
from fl_sparse.config import RunConfig
from fl_sparse.data.client_rows import ClientRows
from fl_sparse.features.statistics import Standardizer
from fl_sparse.federation import TrainingTable, federation_statistics, local_rows, standardized
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.mlp_stack.learner import MLPLearner
from fl_sparse.learn.task import Trained
from fl_sparse.shard.size import training_bytes
from fl_sparse.wire import TrainReply
from fl_sparse.wire.replies import reply_to
from server.in_process_grid import Addressed
from server.population import Population


class Cohort:
    """Callable for the in-process grid: it takes a round's orders and makes replies, one stack at a time."""

    def __init__(self, config: RunConfig, training: TrainingTable, ops: ArrayOps) -> None:
        self._config = config
        self._training = training
        self._learner = MLPLearner(ops)
        self._standardizer: Standardizer | None = None
        # On devices each client holds its residual. Here they take the memory of a model for each client that trained.
        self.residuals: dict[int, Residual] = {}
        self._parts = _training_parts(config, training)

    def population(self, nodes: range) -> Population:
        """Return what all clients would answer to round 0's question; statistics are computed when asked for."""
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

    def __call__(self, addressed: Sequence[Addressed]) -> Iterator[TrainReply]:
        """Return the replies in the orders' order, each made when it is asked for."""
        if self._standardizer is None:
            # The standardizer is frozen in round 0, and each node's first train message carries it.
            self._standardizer = _standardizer(addressed)
        # Only float32 updates may stay factored: other formats encode arrays.
        jobs = [
            ClientJob(to.order.job, to.client, self._parts[to.client], to.group, to.order.update.format == "float32")
            for to in addressed
        ]
        table, views = self._training.table, self._training.table.features.shape[0]
        rows = FeatureRows(self._features, table.labels, views, self._standardizer)
        return map(self._reply, addressed, train_in_turn(self._learner, jobs, rows))

    def _reply(self, to: Addressed, trained: Trained) -> TrainReply:
        before = self.residuals.pop(to.client, None)
        reply, residual = reply_to(to.order, trained, before)
        if residual is not None:
            self.residuals[to.client] = residual
        return reply

    @functools.cached_property
    def _features(self) -> NDArray[np.float32]:
        """The table as one matrix, float32 (V·n, F); rows are standardised when they are read."""
        return standardized(self._training.table, None)


def _training_parts(config: RunConfig, training: TrainingTable) -> ClientRows:
    """Return each client's training rows, without those it holds back to evaluate."""
    if config.evaluate != "clients":
        return training.parts
    split = (local_rows(config, training.table, rows, client) for client, rows in enumerate(training.parts))
    return ClientRows.of(rows.training for rows in split)


def _standardizer(addressed: Sequence[Addressed]) -> Standardizer | None:
    sent = (to.order.standardizing.sent for to in addressed)
    return next((standardizer for standardizer in sent if standardizer is not None), None)
