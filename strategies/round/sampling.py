"""Which clients a round asks, and which of them stay silent: drawn from seed and round, whatever the node ids are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from fl_sparse.config import RunConfig
from fl_sparse.rng import Purpose, generator
from fl_sparse.wire import ClientDescription

Client = TypeVar("Client")


class Reachable:
    """The clients among the reachable nodes, sorted again only when the nodes change."""

    def __init__(self) -> None:
        self._known: tuple[Sequence[int], list[int]] = ((), [])

    def among(self, nodes: Iterable[int], clients: Mapping[int, ClientDescription]) -> list[int]:
        """Return the nodes that are clients, sorted by partition id."""
        now = nodes if isinstance(nodes, range) else list(nodes)
        if now != self._known[0]:
            known = [node for node in now if node in clients]
            self._known = now, sorted(known, key=lambda node: clients[node].partition_id)
        return self._known[1]


def sample(config: RunConfig, round_number: int, clients: Sequence[Client]) -> list[Client]:
    """Return the round's clients, in their order; ``clients`` are all that can be reached, sorted by partition id."""
    wanted = config.clients_per_round or len(clients)
    if wanted >= len(clients):
        return list(clients)
    drawn = generator(Purpose.CLIENT_SAMPLE, config.seed, round_number).choice(
        len(clients), size=wanted, replace=False, shuffle=False
    )
    return [clients[position] for position in sorted(drawn)]


def drops_out(config: RunConfig, round_number: int, client: int) -> bool:
    """Tell whether the client of this partition id, asked in a round, stays silent (``dropout-probability``)."""
    if not config.dropout_probability:
        return False
    drawn = generator(Purpose.CLIENT_FAILURE, config.seed, round_number, client).random()
    return bool(drawn < config.dropout_probability)
