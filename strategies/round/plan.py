"""The plan of a run: whom its rounds ask, and what each of these trains, where that follows from the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fl_sparse.config import RunConfig
from fl_sparse.wire import ClientDescription
from strategies.round.groups import AssignmentRule, Group, by_position
from strategies.round.sampling import sample


def planned(
    config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription]
) -> Iterator[tuple[int, ClientDescription, Group]]:
    """Yield round, client and group of all that a run asks, round by round; ``clients`` are all, in any order.

    Of a rule whose placements depend on what it remembers, the first round alone is known.
    """
    ordered = sorted(clients, key=lambda client: client.partition_id)
    for number in range(1, config.num_server_rounds + 1 if rule.planned else 2):
        asked = sample(config, number, ordered)
        for client, group in zip(asked, by_position(rule.place(number, asked)), strict=True):
            yield number, client, group
