"""Each client alone: it trains a whole model of its own on its own images, and nothing is averaged.

This is the baseline that a federation should beat. Batches, steps and optimiser are those of the other methods, and the
optimiser starts anew every τ steps: with one client, this is FedAvg bit for bit. Only round 0's question is sent, so
no bytes are counted. A round's accuracy is the mean over the clients' models.

The server holds all models, so the method runs in one process only. On devices and under Ray the weights would travel,
and the method is refused.
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
    """A whole model for each client."""

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run.

        Raises
        ------
        InputError
            For a key that needs clients to exchange something.
        """
        check_takes_no_updates(config, "clients exchange nothing under strategy 'alone'")
        return super().from_config(config, axes)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return a group for each client: each has a model of its own."""
        return one_each(clients, lambda client: super(Alone, self).place(round_number, [client])[0].placement)


class AloneStrategy(SubmodelStrategy):
    """Federated averaging's messages, but each client gets its own model back and nothing is averaged or counted."""

    _split: tuple[Parameters, Mapping[int, Parameters]] | None = None
    """The round's parameters, and the clients' models cut out of them."""

    def initial(self, parameters: Parameters) -> Parameters:
        """Return a copy of the initial model for each client, joined as a checkpoint holds them."""
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
        # Copy: the reply's arrays may be views that hold a whole stack in memory.
        own = {name: np.array(values) for name, values in reply.parameters.items()}
        self._trained[self.clients[node].partition_id] = own

    def _reassemble(self) -> Parameters:
        return joined(separated(self._parameters) | self._trained)
