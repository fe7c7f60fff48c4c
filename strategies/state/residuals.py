"""Which residual of error feedback applies: only the server knows its clients' units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.part import Part
from fl_sparse.wire import ClientDescription
from strategies.round.groups import AssignmentRule, or_stay
from strategies.round.plan import planned
from strategies.round.sampling import drops_out


class ResidualRounds:
    """The round and the part of each client's last accepted update.

    A residual applies if a client trains the part of its last accepted update again. After a lost or refused reply the
    client holds a later residual than the server names, and starts from zero.
    """

    def __init__(self) -> None:
        self._accepted: dict[int, tuple[int, bytes]] = {}

    def applying(self, client: int, part: Part) -> int:
        """Return the round whose residual a client adds if it trains this part now; 0 = none."""
        number, units = self._accepted.get(client, (0, b""))
        return number if units == part.digest else 0

    def accept(self, client: int, round_number: int, part: Part) -> bool:
        """Note that a client's update of this part was accepted; tell whether its last one was of the same part."""
        again = self.applying(client, part) > 0
        self._accepted[client] = round_number, part.digest
        return again

    def state(self, clients: Mapping[int, ClientDescription]) -> dict[str, NDArray[Any]]:
        """Return the rounds and parts by partition id, since node ids differ from run to run."""
        known = sorted((clients[node].partition_id, *accepted) for node, accepted in self._accepted.items())
        if not known:
            return {}
        ids, rounds, parts = zip(*known, strict=True)
        return {
            "clients": np.array(ids, dtype=np.int64),
            "rounds": np.array(rounds, dtype=np.int64),
            "parts": np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(len(ids), -1),
        }

    @classmethod
    def load(cls, state: Mapping[str, NDArray[Any]], clients: Mapping[int, ClientDescription]) -> ResidualRounds:
        """Build from what `state` returned, for the nodes that are the clients now."""
        found = cls()
        if state:
            nodes = {client.partition_id: node for node, client in clients.items()}
            for client, number, part in zip(
                state["clients"].tolist(), state["rounds"].tolist(), state["parts"], strict=True
            ):
                if client in nodes:
                    found._accepted[nodes[client]] = number, part.tobytes()
        return found


def check_error_feedback(config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription]) -> None:
    """Refuse error feedback if no client ever trains the part of its last update again.

    Parameters
    ----------
    config
        The run's configuration.
    rule
        Who trains which units.
    clients
        All clients, in any order.

    Raises
    ------
    InputError
        If no residual would ever apply.
    """
    if not config.error_feedback or not rule.planned:
        return
    known = ResidualRounds()
    for number, client, group in planned(config, rule, clients):
        silent = drops_out(config, number, client.partition_id)
        if not silent and known.accept(client.partition_id, number, group.placement.part):
            return
    raise InputError(
        f"error-feedback = true: strategy {config.strategy!r} has no client train the units of its last update again "
        f"in any of {config.num_server_rounds} rounds, so that nothing it keeps could be added; "
        f"expected false{or_stay(rule)}"
    )
