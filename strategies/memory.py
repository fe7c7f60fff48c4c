"""What a round takes of the server's memory, estimated before anything starts.

A simulated cohort is trained and added up in parts, so that the number of clients hardly counts; over the network every
reply waits in memory until all are there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl_sparse.config import RunConfig
from fl_sparse.exchange import ClientDescription
from fl_sparse.memory import check_memory
from fl_sparse.subnet.reassemble import PENDING_BYTES
from fl_sparse.training.descent import moment_names
from fl_sparse.training.optimizers import OptimizerSpec
from strategies.alone import Alone, machine_memory
from strategies.alone import check_memory as check_own_models
from strategies.assignment import AssignmentRule, Placement
from strategies.sampling import sample

WHOLE_COPIES = 8
"""Of the whole model: before and after the round, float64 sums and weights (two each), a checkpoint and its file."""

Shapes = Mapping[str, tuple[int, ...]]


def check_round_memory(
    config: RunConfig,
    rule: AssignmentRule,
    clients: Mapping[int, ClientDescription],
    shapes: Shapes,
    *,
    streamed: bool,
    available: int | None,
) -> None:
    """Refuse a run whose first round does not fit the memory.

    Parameters
    ----------
    config
        The run's configuration.
    rule
        Who trains which units.
    clients
        Node id -> description, of all clients.
    shapes
        Name -> shape of the whole model's parameters.
    streamed
        Whether replies are made one part of the cohort after the other, as they are added up.
    available
        Bytes; None if unknown.

    Raises
    ------
    InputError
        With the estimate.
    """
    if isinstance(rule, Alone):
        check_own_models(len(clients), _bytes(shapes), machine_memory())
    asked = sample(config, 1, sorted(clients, key=lambda node: clients[node].partition_id))
    cohort = [clients[node] for node in asked]
    check_memory(
        round_bytes(config, cohort, rule.place(1, cohort), shapes, streamed=streamed),
        f"a round's {len(cohort)} clients",
        "Expected fewer clients-per-round or smaller hidden-widths",
        available,
    )


def round_bytes(
    config: RunConfig,
    clients: Sequence[ClientDescription],
    placements: Sequence[Placement],
    shapes: Shapes,
    *,
    streamed: bool,
) -> int:
    """Return an estimate of the bytes that a round takes, given its clients and what each trains."""
    units = [placement.assignment.digest() for placement in placements]
    sizes = {
        key: _held_bytes(shapes, placement) for key, placement in dict(zip(units, placements, strict=True)).items()
    }
    whole = _bytes(shapes)
    # A part that is held whole shares the model's memory; clients that train the same share what is cut out.
    sent = sum(size for size in sizes.values() if size < whole)
    optimizer = OptimizerSpec(config.optimizer, config.learning_rate, config.momentum, config.proximal)
    largest = max(sizes.values(), default=0)
    moments = len(moment_names(optimizer))
    copies = 1 + moments if config.optimizer_state == "kept" else 1
    replies = copies * sum(sizes[key] for key in units)
    # One client at least is trained at a time, with its gradients and moments, and its batch in every layer.
    features = next((client.num_features for client in clients), 0)
    batch = 4 * config.batch_size * (features + 3 * sum(config.widths))
    trained = max((2 + moments) * largest + batch, min(replies, 2 * PENDING_BYTES))
    return WHOLE_COPIES * whole + sent + trained + (0 if streamed else replies)


def _bytes(shapes: Shapes) -> int:
    return sum(4 * math.prod(shape) for shape in shapes.values())


def _held_bytes(shapes: Shapes, placement: Placement) -> int:
    total = 0
    for name, shape in shapes.items():
        index = placement.assignment.index(name)
        total += 4 * math.prod(size if units is None else len(units) for size, units in zip(shape, index, strict=True))
    return total
