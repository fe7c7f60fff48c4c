"""A client's round, or a whole cohort's: orders in, replies out.

The device trains one order, the in-process grid all of a round: clients whose subnets have equal shapes are stacked and
trained at once, as many as fit the memory set aside for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.absent_classes import AbsentClasses
from fl_sparse.learn.array_ops import ArrayOps
from fl_sparse.learn.batches import batch_rows
from fl_sparse.learn.descent import OptimizerState
from fl_sparse.learn.mlp_stack.stack import train_stack
from fl_sparse.learn.mlp_stack.stacking import stacks_of
from fl_sparse.learn.ordered_dropout import OrderedDropout
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.rng import Purpose, generator
from fl_sparse.wire.exchange import TrainOrder, TrainReply


@dataclass(frozen=True)
class LocalData:
    """What one client trains on: some rows of a table of features, which other clients may share.

    ``features`` is float32 (V·n, F), view v of row i at v·n + i; ``labels`` int64 (n,); ``rows`` int64 (n_k,). Epoch e
    uses view e mod V. ``standardizer`` is applied to what is read, unless the features are standardised already.
    """

    features: Any = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    partition_id: int
    num_views: int = 1
    standardizer: Standardizer | None = field(default=None, repr=False)


def train_locally(orders: Sequence[TrainOrder], data: Sequence[LocalData], ops: ArrayOps) -> list[TrainReply]:
    """Train each order's subnet on its client's data.

    Stacked and one-by-one training agree up to the rounding of the matrix products (a tolerance that the tests state);
    the same orders give the same bits, if they share the same arrays.
    """
    return list(train_in_turn(orders, data, ops))


def train_in_turn(orders: Sequence[TrainOrder], data: Sequence[LocalData], ops: ArrayOps) -> Iterator[TrainReply]:
    """Yield the replies that `train_locally` returns, in the orders' order, each part of a stack as it is trained.

    Whoever lets go of a reply before taking the next holds no more than a part of the cohort in memory, however many
    orders there are (a part for each kind of shapes, where these differ).
    """
    replies: dict[int, TrainReply] = {}
    following = 0
    for stack in stacks_of(orders, data, ops):
        chosen = [orders[p] for p in stack.positions], [data[p] for p in stack.positions]
        replies.update(zip(stack.positions, _train_group(*chosen, stack.factored, ops), strict=True))
        while following in replies:
            yield replies.pop(following)
            following += 1


def _train_group(
    orders: Sequence[TrainOrder], data: Sequence[LocalData], factored: Sequence[str], ops: ArrayOps
) -> list[TrainReply]:
    first = orders[0]
    batches = _padded([_batches(order, held) for order, held in zip(orders, data, strict=True)])
    shared = {name: first.parameters[name] for name in factored}
    stacked = {name: [order.parameters[name] for order in orders] for name in first.parameters if name not in shared}
    scales = tuple(np.array(layer, dtype=np.float32) for layer in zip(*(order.scales for order in orders), strict=True))
    labels = np.tile(data[0].labels, data[0].num_views) if data[0].num_views > 1 else data[0].labels
    spec = MLPSpec.of_parameters(first.parameters, activation=first.activation, normalization=first.normalization)
    classes = _classes(data) if first.absent_classes != "trained" else None
    result = train_stack(
        stacked,
        scales,
        data[0].features,
        labels,
        batches,
        optimizer=first.optimizer,
        spec=spec,
        ops=ops,
        standardizer=data[0].standardizer,
        ordered=_ordered(orders, data) if first.prefixes else None,
        absent=None if classes is None else _absent(classes, spec.num_classes, first.absent_classes),
        state=_state(orders) if first.moments else None,
        keep_state=bool(first.moments),
        shared=shared,
    )
    kept = {} if result.optimizer_state is None else result.optimizer_state.moments
    return [
        TrainReply(
            round=order.round,
            subnet=order.subnet,
            parameters={name: result.parameters[name][position] for name in first.parameters},
            num_examples=len(held.rows),
            loss=float(result.loss[position]),
            moments={
                moment: {name: values[position] for name, values in held.items()} for moment, held in kept.items()
            },
            classes=None if classes is None else tuple(classes[position].tolist()),
        )
        for position, (order, held) in enumerate(zip(orders, data, strict=True))
    ]


def _classes(data: Sequence[LocalData]) -> list[NDArray[np.int64]]:
    """Return the classes that each client holds, ascending: of all its examples, whichever the round's batches are."""
    return [np.unique(held.labels[held.rows]) for held in data]


def _absent(classes: Sequence[NDArray[np.int64]], num_classes: int, rule: str) -> AbsentClasses:
    return AbsentClasses(np.stack([np.isin(np.arange(num_classes), own) for own in classes]), rule)


def _state(orders: Sequence[TrainOrder]) -> OptimizerState:
    """Return where the group's optimisers stand."""
    steps = np.array([order.steps_taken for order in orders], dtype=np.int64)
    moments = {
        moment: {name: [order.moments[moment][name] for order in orders] for name in held}
        for moment, held in orders[0].moments.items()
    }
    return OptimizerState(steps, moments)


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
    rows = data.rows[positions]
    if data.num_views > 1:
        batches_an_epoch = -(-len(data.rows) // order.batch_size)
        steps = np.arange(order.first_step, order.first_step + order.local_steps)
        view = (steps // batches_an_epoch) % data.num_views
        rows = rows + (view * len(data.labels))[:, None]
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
    padded = np.full((len(batches), len(batches[0]), width), -1, dtype=np.int64)
    for target, rows in zip(padded, batches, strict=True):
        target[:, : rows.shape[1]] = rows
    return padded
