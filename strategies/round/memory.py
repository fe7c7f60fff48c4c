"""A bound on what a round takes of the server's memory, checked before anything starts.

A simulated cohort is trained and added up in stacks, so its number of clients hardly counts. Over the network, every
reply waits in memory until all are there. Two things grow with a simulation's clients: the residuals of error feedback,
one for each client that ever trained (devices would hold their own), and the models of strategy ``alone``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fl_sparse.config import RunConfig
from fl_sparse.learn.descent import moment_names
from fl_sparse.memory import check_memory
from fl_sparse.model.cost import num_weights
from fl_sparse.model.parameters import Model
from fl_sparse.part import WHOLE
from fl_sparse.part.part import BYTES_A_VALUE
from fl_sparse.part.scatter import PENDING_BYTES
from fl_sparse.wire import ClientDescription
from strategies.methods.alone import Alone
from strategies.round.groups import AssignmentRule, Group
from strategies.round.orders import optimizer_of
from strategies.round.sampling import sample
from strategies.state.optimizer_state import kept_moments
from strategies.state.server_optimizer import ServerOptimizer

STORED_COPIES = 4
"""Copies of what outlives a round: before it, after it, a checkpoint's tensors, and its file while it is written."""
SUM_COPIES = 4
"""Float32 copies that averaging takes: sums and weights, each in float64, which is twice float32."""


def check_round_memory(
    config: RunConfig,
    rule: AssignmentRule,
    clients: Mapping[int, ClientDescription],
    model: Model,
    *,
    streamed: bool,
    available: int | None,
) -> None:
    """Refuse a run if its first round, and what it holds until the last, do not fit the memory.

    Parameters
    ----------
    config
        The run's configuration.
    rule
        Who trains which units.
    clients
        Node id -> description, of all clients.
    model
        The whole model.
    streamed
        Whether clients are simulated here, and their replies made stack by stack as they are added up.
    available
        Bytes; None if unknown.

    Raises
    ------
    InputError
        With the bound.
    """
    if isinstance(rule, Alone):
        size = WHOLE.nbytes(model)
        check_memory(
            STORED_COPIES * len(clients) * size,
            f"strategy 'alone' keeps {len(clients)} models of {size / 1e6:.3g} MB, which",
            "Expected fewer clients or smaller hidden-widths",
            available,
        )
    asked = sample(config, 1, sorted(clients, key=lambda node: clients[node].partition_id))
    groups = rule.place(1, [clients[node] for node in asked])
    check_memory(
        round_bytes(config, groups, model, population=len(clients), streamed=streamed),
        f"a round's {len(asked)} clients",
        "Expected fewer clients-per-round or smaller hidden-widths",
        available,
    )


def round_bytes(config: RunConfig, groups: Sequence[Group], model: Model, *, population: int, streamed: bool) -> int:
    """Return a bound on the bytes that a round takes, given its groups and the number of all clients."""
    whole, copies = WHOLE.nbytes(model), 1 + len(kept_moments(config))
    sizes = [held_bytes(group, model) for group in groups]
    updates = sum(size * len(group.positions) for size, group in zip(sizes, groups, strict=True))
    server = (STORED_COPIES + SUM_COPIES) * copies * whole
    server += STORED_COPIES * len(ServerOptimizer.from_config(config).moments) * whole
    # Each group's part and moments are cut out once. Replies are trained, and wait to be added up, in stacks.
    one = (2 + len(moment_names(optimizer_of(config)))) * max(sizes, default=0)
    stacks = max(one, min(copies * updates, 2 * copies * PENDING_BYTES))
    waiting = residual_bytes(config, updates, groups, population) if streamed else copies * updates
    return server + copies * sum(sizes) + stacks + waiting


def held_bytes(group: Group, model: Model) -> int:
    """Return the bytes of a client's values, those that a mask has dead included: they travel as zeros."""
    return BYTES_A_VALUE * num_weights(group.placement.part.model(model))


def residual_bytes(config: RunConfig, updates: int, groups: Sequence[Group], population: int) -> int:
    """Return the bytes of the residuals of all clients that ever train, if they are simulated here.

    ``updates`` are the bytes that the clients of a round hold together.
    """
    cohort = sum(len(group.positions) for group in groups)
    if not config.error_feedback or not cohort:
        return 0
    return updates * min(population, config.num_server_rounds * cohort) // cohort
