"""The plan of a run: whom its rounds ask, and what each of these trains. It follows from the configuration alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fl_sparse.config import RunConfig
from fl_sparse.wire.exchange import ClientDescription
from strategies.round.groups import AssignmentRule, Placement
from strategies.round.sampling import sample


def planned(
    config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription]
) -> Iterator[tuple[int, ClientDescription, Placement]]:
    """Yield round, client and placement of all that a run asks, round by round; ``clients`` are all, in any order."""
    ordered = sorted(clients, key=lambda client: client.partition_id)
    for number in range(1, config.num_server_rounds + 1):
        asked = sample(config, number, ordered)
        for client, placement in zip(asked, rule.place(number, asked), strict=True):
            yield number, client, placement
