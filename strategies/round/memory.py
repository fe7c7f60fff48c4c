"""What a round takes of the server's memory, estimated before anything starts.

A simulated cohort is trained and added up in parts, so that the number of clients hardly counts; over the network every
reply waits in memory until all are there. Two things do grow with the clients of a simulation: the residuals of error
feedback, one for each that ever trained, which devices would keep themselves, and the models of strategy ``alone``. The
clients' optimiser state, where it is kept, takes the way of the model, and the server optimiser's stays on the server.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fl_sparse.config import RunConfig
from fl_sparse.learn.descent import moment_names
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.memory import check_memory
from fl_sparse.part.scatter import PENDING_BYTES
from fl_sparse.wire.exchange import ClientDescription
from strategies.methods.alone import Alone
from strategies.round.groups import AssignmentRule, Placement
from strategies.round.sampling import sample
from strategies.state.optimizer_state import kept_moments
from strategies.state.server_optimizer import ServerOptimizer

STORED_COPIES = 4
"""Of all that outlives a round: before and after it, and a checkpoint's tensors and its file while it is written."""
SUM_COPIES = 4
"""Of what is averaged: its sums and its weights, in float64, which is twice float32."""

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
    """Refuse a run whose first round, and what is kept until the last, does not fit the memory.

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
        Whether clients are simulated here, and replies made one part of the cohort after the other, as they are added
        up.
    available
        Bytes; None if unknown.

    Raises
    ------
    InputError
        With the estimate.
    """
    if isinstance(rule, Alone):
        model = _bytes(shapes)
        check_memory(
            STORED_COPIES * len(clients) * model,
            f"strategy 'alone' keeps {len(clients)} models of {model / 1e6:.3g} MB, which",
            "Expected fewer clients or smaller hidden-widths",
            available,
        )
    asked = sample(config, 1, sorted(clients, key=lambda node: clients[node].partition_id))
    cohort = [clients[node] for node in asked]
    check_memory(
        round_bytes(config, cohort, rule.place(1, cohort), shapes, population=len(clients), streamed=streamed),
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
    population: int,
    streamed: bool,
) -> int:
    """Return an estimate of the bytes that a round takes, given its clients and what each trains.

    ``population`` is the number of all clients.
    """
    units = [placement.assignment.digest() for placement in placements]
    sizes = {
        key: _held_bytes(shapes, placement) for key, placement in dict(zip(units, placements, strict=True)).items()
    }
    whole, parts = _bytes(shapes), sum(sizes[key] for key in units)
    kept = len(kept_moments(config))
    # The clients' moments are averaged as the model is; the server's are not.
    server = (STORED_COPIES + SUM_COPIES) * (1 + kept) * whole
    server += STORED_COPIES * len(ServerOptimizer.from_config(config).moments) * whole
    # Clients that train the same share what is cut out. A part that is held whole shares the model's memory, but not
    # that of its moments, which are scaled before they are handed out.
    sent = sum(size for size in sizes.values() if size < whole) + kept * sum(sizes.values())
    replies = (1 + kept) * parts
    # One client at least is trained at a time, with its gradients and moments, and its batch in every layer.
    optimizer = OptimizerSpec(config.optimizer, config.learning_rate, config.momentum, config.proximal)
    largest = max(sizes.values(), default=0)
    features = next((client.num_features for client in clients), 0)
    batch = 4 * config.batch_size * (features + 3 * sum(config.widths))
    one = (2 + len(moment_names(optimizer))) * largest + batch
    trained = max(one, min(replies, 2 * (1 + kept) * PENDING_BYTES))
    waiting = _residual_bytes(config, parts, len(units), population) if streamed else replies
    return server + sent + trained + waiting


def _residual_bytes(config: RunConfig, parts: int, cohort: int, population: int) -> int:
    """Return what error feedback keeps of all clients that ever train, if they are simulated here.

    ``parts`` are the bytes that a round's ``cohort`` clients hold together.
    """
    if not config.error_feedback or not cohort:
        return 0
    return parts * min(population, config.num_server_rounds * cohort) // cohort


def _bytes(shapes: Shapes) -> int:
    return sum(4 * math.prod(shape) for shape in shapes.values())


def _held_bytes(shapes: Shapes, placement: Placement) -> int:
    total = 0
    for name, shape in shapes.items():
        index = placement.assignment.index(name)
        total += 4 * math.prod(size if units is None else len(units) for size, units in zip(shape, index, strict=True))
    return total
