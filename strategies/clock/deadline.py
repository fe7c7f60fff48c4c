"""A deadline that nobody can ever meet is found before a run starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from fl_sparse.config import RunConfig
from fl_sparse.part import SubnetAssignment
from fl_sparse.wire.exchange import ClientDescription
from strategies.clock.virtual_clock import ClientTime, VirtualClock
from strategies.round.groups import AssignmentRule, Placement
from strategies.round.orders import order_workload, train_order
from strategies.round.plan import planned
from strategies.state.optimizer_state import kept_moments, trained_parameters

Shapes = Mapping[str, tuple[int, ...]]


def check_deadline(
    config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription], shapes: Shapes
) -> None:
    """Refuse a round deadline that no client meets in any round of the run.

    Parameters
    ----------
    config
        The run's configuration.
    rule
        Who trains which units.
    clients
        All clients, in any order.
    shapes
        Name -> shape of the whole model's parameters.

    Raises
    ------
    InputError
        Naming the fastest client and its time.
    """
    clock = VirtualClock.from_config(config)
    if clock is not None and clock.deadline:
        clock.check_deadline(config.num_server_rounds, _times(config, clock, rule, clients, shapes))


def _times(
    config: RunConfig, clock: VirtualClock, rule: AssignmentRule, clients: Iterable[ClientDescription], shapes: Shapes
) -> Iterator[tuple[int, ClientTime]]:
    known: set[tuple[object, ...]] = set()
    for number, client, placement in planned(config, rule, clients):
        time = _time(config, clock, number, client, placement, shapes, known)
        if time is not None:
            yield client.partition_id, time


def _time(
    config: RunConfig,
    clock: VirtualClock,
    number: int,
    client: ClientDescription,
    placement: Placement,
    shapes: Shapes,
    known: set[tuple[object, ...]],
) -> ClientTime | None:
    """Return a client's time in a round, None if an earlier round had the same sizes and so the same time."""
    # Without values, arrays of any size cost nothing: only their shapes matter here.
    held = {
        name: np.broadcast_to(np.float32(0), _held_shape(shape, name, placement.assignment))
        for name, shape in shapes.items()
    }
    order = train_order(config, number, placement, held, None, expects_standardizer=config.standardize)
    order = replace(order, moments=dict.fromkeys(kept_moments(config), trained_parameters(held)))
    flops = order_workload(order, client.num_examples).total_flops
    key = (client.partition_id, flops, *(values.shape for values in held.values()))
    if key in known:
        return None
    known.add(key)
    return clock.training(client, order, flops)


def _held_shape(shape: tuple[int, ...], name: str, assignment: SubnetAssignment) -> tuple[int, ...]:
    return tuple(
        size if units is None else len(units) for size, units in zip(shape, assignment.index(name), strict=True)
    )
