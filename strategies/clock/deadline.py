"""Refuses, before a run starts, a deadline that no client can meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fl_sparse.codec import CODECS
from fl_sparse.config import RunConfig
from fl_sparse.learn.task import CarriedState
from fl_sparse.model.network import NetworkSpec
from fl_sparse.model.parameters import shapes_of
from fl_sparse.wire import ClientDescription, Expected, Standardizing
from fl_sparse.wire.orders import AS_IT_IS, Broadcast
from strategies.clock.virtual_clock import ClientTime, VirtualClock, without_memory
from strategies.round.groups import AssignmentRule, Group
from strategies.round.handing import Handed
from strategies.round.orders import job_workload, training_job
from strategies.round.plan import planned
from strategies.state.optimizer_state import kept_moments


def check_deadline(
    config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription], network: NetworkSpec
) -> None:
    """Refuse a round deadline that no client meets in any planned round.

    Parameters
    ----------
    config
        The run's configuration.
    rule
        Who trains which units.
    clients
        All clients, in any order.
    network
        The whole model.

    Raises
    ------
    InputError
        Naming the fastest client and its time.
    """
    clock = VirtualClock.from_config(config)
    if clock is not None and clock.deadline and rule.planned:
        clock.check_deadline(config.num_server_rounds, _times(config, clock, rule, clients, network))


def _times(
    config: RunConfig,
    clock: VirtualClock,
    rule: AssignmentRule,
    clients: Iterable[ClientDescription],
    network: NetworkSpec,
) -> Iterator[tuple[int, ClientTime]]:
    known: set[tuple[object, ...]] = set()
    for number, client, group in planned(config, rule, clients):
        handed = _sizes(config, network, number, group)
        flops = job_workload(network.shared_axes, handed.expected.model, handed.job, client.num_examples).total_flops
        # Skip sizes seen in an earlier round: they take the same time.
        key = (client.partition_id, flops, *shapes_of(handed.expected.model).values())
        if key not in known:
            known.add(key)
            order = handed.order(config, number, Standardizing(config.standardize))
            yield client.partition_id, clock.training(client, order, handed.expected, flops)


def _sizes(config: RunConfig, network: NetworkSpec, number: int, group: Group) -> Handed:
    """Return what a group is sent and has to send back, as arrays that have sizes but take no memory."""
    model, codec = group.placement.part.model(network.model), CODECS[config.broadcast_format]
    moments, held = kept_moments(config), without_memory(CODECS["float32"].layout(shapes_of(model)))
    trained = {name: held[name] for name, spec in model.items() if spec.trained}
    job = training_job(config, network, number, group.placement, held, CarriedState(dict.fromkeys(moments, trained)))
    broadcast = AS_IT_IS
    if not codec.exact:
        broadcast = Broadcast(config.broadcast_format, without_memory(codec.layout(shapes_of(model))))
    expected = Expected(model, config.update_format, moments, config.absent_classes != "trained")
    return Handed(group, held, job, expected, broadcast)
