"""The plan of a run: whom its rounds ask, and what each client trains, as far as the configuration decides it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fl_sparse.config import RunConfig
from fl_sparse.wire import ClientDescription
from strategies.round.groups import AssignmentRule, Group, by_position
from strategies.round.sampling import sample


def planned(
    config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription]
) -> Iterator[tuple[int, ClientDescription, Group]]:
    """Yield round, client and group of every client asked, round by round; ``clients`` are all, in any order.

    If placements depend on what the rule remembers, only the first round is known.
    """
    ordered = sorted(clients, key=lambda client: client.partition_id)
    for number in range(1, config.num_server_rounds + 1 if rule.planned else 2):
        asked = sample(config, number, ordered)
        for client, group in zip(asked, by_position(rule.place(number, asked)), strict=True):
            yield number, client, group
