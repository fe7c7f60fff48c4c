"""Each client alone: it trains a whole model of its own on its own images, and nobody ever averages.

The line below which no federation should fall. Batches, steps and optimiser are those of the other methods: a client's
optimiser starts anew every τ steps, and with one client this is FedAvg with one client, bit for bit. Nothing is sent
but round 0's question, so that no bytes are counted. The accuracy of a round is the mean over the clients' models.

Here the models lie together with the server, which is a simulation's way to say that they stay where they are: on
devices and under Ray, weights would travel, and the method is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from flwr.app import RecordDict

from fl_sparse.config import RunConfig
from fl_sparse.learn.task import Parameters
from fl_sparse.model.own_models import joined, separated
from fl_sparse.wire import ClientDescription, Expected, TrainReply
from strategies.clock.virtual_clock import ClientTime
from strategies.methods.fedavg import FedAvg
from strategies.round.groups import Axes, Group, check_takes_no_updates, one_each
from strategies.round.handing import Letter
from strategies.round.strategy import SubmodelStrategy


@dataclass(frozen=True)
class Alone(FedAvg):
    """Whole models that are kept apart."""

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run.

        Raises
        ------
        InputError
            For what only makes sense where something is exchanged.
        """
        check_takes_no_updates(config, "clients exchange nothing under strategy 'alone'")
        return super().from_config(config, axes)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return a group for each client, since no two have the same values."""
        return one_each(clients, lambda client: super(Alone, self).place(round_number, [client])[0].placement)


class AloneStrategy(SubmodelStrategy):
    """Federated averaging's messages, but each client gets its own model back and nothing is averaged or counted."""

    _split: tuple[Parameters, Mapping[int, Parameters]] | None = None
    """The parameters of the round, and the models they hold."""

    def initial(self, parameters: Parameters) -> Parameters:
        """Return the same initial model for every client, each a copy of its own, as a checkpoint holds them."""
        return joined(
            {
                client.partition_id: {name: values.copy() for name, values in parameters.items()}
                for client in self.clients.values()
            }
        )

    def _model_of(self, node: int) -> Parameters:
        if self._split is None or self._split[0] is not self._parameters:
            self._split = self._parameters, separated(self._parameters)
        return self._split[1][self.clients[node].partition_id]

    def _bytes_of(self, content: RecordDict) -> int:
        return 0

    def _time_of(self, node: int, letter: Letter, expected: Expected, flops: float) -> ClientTime:
        assert self.clock is not None
        return self.clock.time(self.clients[node].partition_id, bytes_down=0, flops=flops)

    def _begin(self) -> None:
        self._trained: dict[int, Parameters] = {}

    def _take(self, node: int, reply: TrainReply) -> None:
        # A copy, since what the reply's arrays are parts of may be a whole stack.
        own = {name: np.array(values) for name, values in reply.parameters.items()}
        self._trained[self.clients[node].partition_id] = own

    def _reassemble(self) -> Parameters:
        return joined(separated(self._parameters) | self._trained)
