"""Which residual of error feedback applies: what the server knows of its clients' units, and they do not."""

from __future__ import annotations

from collections.abc import Iterable

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.part import SubnetAssignment
from fl_sparse.wire.exchange import ClientDescription
from strategies.round.groups import AssignmentRule
from strategies.round.plan import planned
from strategies.round.sampling import drops_out


class ResidualRounds:
    """The round and the units of each client's last accepted update.

    A residual applies where a client trains the units of its last accepted update again. After a lost or refused reply
    a client holds a later residual than the one named here, and starts from zero. None of this is part of a checkpoint:
    where a run goes on from one, all clients start from zero.
    """

    def __init__(self) -> None:
        self._accepted: dict[int, tuple[int, bytes]] = {}

    def applying(self, client: int, assignment: SubnetAssignment) -> int:
        """Return the round whose residual a client is to add that trains these units now; 0 = none."""
        number, units = self._accepted.get(client, (0, b""))
        return number if units == assignment.digest() else 0

    def accept(self, client: int, round_number: int, assignment: SubnetAssignment) -> bool:
        """Note that a client's update of these units was accepted; tell whether its last one's were the same."""
        again = self.applying(client, assignment) > 0
        self._accepted[client] = round_number, assignment.digest()
        return again


def check_error_feedback(config: RunConfig, rule: AssignmentRule, clients: Iterable[ClientDescription]) -> None:
    """Refuse error feedback in a run none of whose clients ever trains the units of its last update again.

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
    if not config.error_feedback:
        return
    known = ResidualRounds()
    for number, client, placement in planned(config, rule, clients):
        silent = drops_out(config, number, client.partition_id)
        if not silent and known.accept(client.partition_id, number, placement.assignment):
            return
    stay = ", or a larger repartition-every" if "repartition-every" in rule.options else ""
    raise InputError(
        f"error-feedback = true: strategy {config.strategy!r} has no client train the units of its last update again "
        f"in any of {config.num_server_rounds} rounds, so that nothing it keeps could be added; expected false{stay}"
    )
