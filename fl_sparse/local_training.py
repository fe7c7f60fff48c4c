"""A client's round, or a whole cohort's: orders in, replies out.

The device calls `train_locally` with one order, the in-process grid with all of a round: clients whose subnets have
equal shapes are stacked and trained at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.draws import Purpose, generator
from fl_sparse.exchange import TrainOrder, TrainReply
from fl_sparse.mlp import MLPSpec
from fl_sparse.training.batches import batch_rows
from fl_sparse.training.namespace import Namespace
from fl_sparse.training.ordered_dropout import OrderedDropout
from fl_sparse.training.stack import train_stack


@dataclass(frozen=True)
class LocalData:
    """What one client trains on: some rows of a table of features, which other clients may share.

    ``features`` is float32 (V·n, F), standardised, view v of row i at v·n + i; ``labels`` int64 (n,); ``rows`` int64
    (n_k,). Epoch e uses view e mod V.
    """

    features: Any = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    partition_id: int
    num_views: int = 1


def train_locally(orders: Sequence[TrainOrder], data: Sequence[LocalData], namespace: Namespace) -> list[TrainReply]:
    """Train each order's subnet on its client's data.

    Stacked and one-by-one training agree up to the rounding of the matrix products (a tolerance that the tests state);
    the same orders give the same bits.
    """
    groups: dict[Any, list[int]] = defaultdict(list)
    for position, (order, held) in enumerate(zip(orders, data, strict=True)):
        groups[_stacking_key(order, held)].append(position)
    replies: dict[int, TrainReply] = {}
    for positions in groups.values():
        stack = _train_group([orders[p] for p in positions], [data[p] for p in positions], namespace)
        replies.update(zip(positions, stack, strict=True))
    return [replies[position] for position in range(len(orders))]


def _stacking_key(order: TrainOrder, data: LocalData) -> Any:
    shapes = tuple((name, values.shape) for name, values in sorted(order.parameters.items()))
    ordered = bool(order.prefixes), order.self_distillation
    alike = order.activation, order.normalization, order.optimizer, order.local_steps
    return shapes, alike, ordered, id(data.features)


def _train_group(orders: Sequence[TrainOrder], data: Sequence[LocalData], namespace: Namespace) -> list[TrainReply]:
    first = orders[0]
    batches = _padded([_batches(order, held) for order, held in zip(orders, data, strict=True)])
    stacked = {name: [order.parameters[name] for order in orders] for name in first.parameters}
    scales = tuple(np.array(layer, dtype=np.float32) for layer in zip(*(order.scales for order in orders), strict=True))
    labels = np.tile(data[0].labels, data[0].num_views) if data[0].num_views > 1 else data[0].labels
    result = train_stack(
        stacked,
        scales,
        data[0].features,
        labels,
        batches,
        optimizer=first.optimizer,
        spec=MLPSpec.of_parameters(first.parameters, activation=first.activation, normalization=first.normalization),
        namespace=namespace,
        ordered=_ordered(orders, data) if first.prefixes else None,
    )
    return [
        TrainReply(
            round=order.round,
            subnet=order.subnet,
            parameters={name: values[position] for name, values in result.parameters.items()},
            num_examples=len(held.rows),
            loss=float(result.loss[position]),
        )
        for position, (order, held) in enumerate(zip(orders, data, strict=True))
    ]


def _batches(order: TrainOrder, data: LocalData) -> NDArray[np.int64]:
    """Return the table's rows of each step, int64 (tau, b), padded with -1."""
    positions = batch_rows(
        len(data.rows),
        order.batch_size,
        seed=order.seed,
        partition_id=data.partition_id,
        first_step=order.first_step,
        steps=order.local_steps,
    )
    batches_an_epoch = -(-len(data.rows) // order.batch_size)
    steps = np.arange(order.first_step, order.first_step + order.local_steps)
    view = (steps // batches_an_epoch) % data.num_views
    rows = data.rows[positions] + (view * len(data.labels))[:, None]
    return np.where(positions < 0, -1, rows)


def _ordered(orders: Sequence[TrainOrder], data: Sequence[LocalData]) -> OrderedDropout:
    widths = np.stack([_widths(order, held) for order, held in zip(orders, data, strict=True)])
    return OrderedDropout(widths, orders[0].self_distillation)


def _widths(order: TrainOrder, data: LocalData) -> NDArray[np.int64]:
    """Draw the prefix of each step from (seed, client, step); int64 (tau, L), units of each hidden layer."""
    steps = range(order.first_step, order.first_step + order.local_steps)
    drawn = [
        generator(Purpose.ORDERED_WIDTH, order.seed, data.partition_id, step).integers(len(order.prefixes))
        for step in steps
    ]
    return np.array(order.prefixes, dtype=np.int64)[drawn]


def _padded(batches: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    width = max(rows.shape[1] for rows in batches)
    return np.stack([np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=-1) for rows in batches])
