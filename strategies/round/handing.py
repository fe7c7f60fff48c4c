"""What each group of a round is sent, made once: its part, the written order, and the reply expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from flwr.app import RecordDict

from fl_sparse.codec.residual import UpdateEncoding, add_update
from fl_sparse.config import RunConfig
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.task import Parameters, TrainingJob
from fl_sparse.model.cost import Workload
from fl_sparse.model.network import NetworkSpec
from fl_sparse.wire import Expected, SharedContent, Standardizing, TrainOrder, TrainReply, content_of_order, read_reply
from fl_sparse.wire.orders import AS_IT_IS, Broadcast
from strategies.round.groups import Group
from strategies.round.orders import job_workload, training_job
from strategies.state.broadcast import BroadcastResiduals, rebased
from strategies.state.optimizer_state import ClientOptimizerState


@dataclass(frozen=True)
class Handed:
    """A group's part, as it is handed out.

    Parameters
    ----------
    group
        Who, and which part.
    values
        θ cut to the part, as the server holds it.
    job
        What the clients train; its values are what they decode.
    expected
        What their replies have to look like.
    broadcast
        How the values travel.
    """

    group: Group
    values: Parameters = field(repr=False)
    job: TrainingJob = field(repr=False)
    expected: Expected = field(repr=False)
    broadcast: Broadcast = field(default=AS_IT_IS, repr=False)

    def order(
        self, config: RunConfig, round_number: int, standardizing: Standardizing, residual_round: int = 0
    ) -> TrainOrder:
        """Return the group's order with this standardizing and residual."""
        update = UpdateEncoding(config.update_format, config.error_feedback, residual_round)
        return TrainOrder(round_number, self.group.number, self.job, standardizing, update, self.broadcast)

    def read(self, content: RecordDict, round_number: int) -> TrainReply:
        """Return a checked reply; its parameters are θ plus the client's change.

        Raises
        ------
        ValueError
            With the reason for refusal.
        """
        reply = read_reply(content, round_number=round_number, number=self.group.number, expected=self.expected)
        if self.expected.format != "float32":
            return replace(reply, parameters=add_update(self.values, reply.parameters))
        if self.broadcast.arrays is None:
            return reply
        return replace(reply, parameters=rebased(reply.parameters, self.job.part.parameters, self.values))


@dataclass(frozen=True)
class Letter:
    """A written order, shared by the clients of a group that are sent the same.

    Parameters
    ----------
    order
        The order.
    content
        The message's content. It is shared: change only a copy, from `fl_sparse.wire.copied`.
    size
        Bytes that the content counts for.
    """

    order: TrainOrder = field(repr=False)
    content: RecordDict = field(repr=False)
    size: int


class Handing:
    """Makes each group's part and messages of a round, once.

    Parameters
    ----------
    config
        The run's configuration.
    network
        The whole model.
    round_number
        The round.
    standardizer
        The federation's.
    optimizer_state
        The clients' moments before the round.
    residuals
        The residuals of the parts that the round before sent.
    """

    def __init__(
        self,
        config: RunConfig,
        network: NetworkSpec,
        round_number: int,
        standardizer: Standardizer | None,
        optimizer_state: ClientOptimizerState,
        residuals: BroadcastResiduals,
    ) -> None:
        self._config, self._network, self._model, self._round = config, network, network.model, round_number
        self._standardizer, self._state, self._residuals = standardizer, optimizer_state, residuals
        self._handed: dict[int, Handed] = {}
        self._letters: dict[tuple[int, bool, int], Letter] = {}
        self._works: dict[tuple[int, int], Workload] = {}
        self._lost: dict[bytes, Parameters] = {}

    def part(self, group: Group, parameters: Parameters) -> Handed:
        """Return a group's part of a model, cut out when it is first asked for."""
        if group.number not in self._handed:
            part, config = group.placement.part, self._config
            values = part.cut(self._model, parameters)
            broadcast, base, lost = self._residuals.sent(config, part, values)
            if lost:
                self._lost[part.digest] = lost
            state = self._state.part(self._model, part)
            job = training_job(config, self._network, self._round, group.placement, base, state)
            held = {name: spec for name, spec in part.model(self._model).items() if name in values}
            expected = Expected(held, config.update_format, tuple(state.moments), config.absent_classes != "trained")
            self._handed[group.number] = Handed(group, values, job, expected, broadcast)
        return self._handed[group.number]

    def letter(
        self, handed: Handed, residual_round: int, bytes_of: Callable[[RecordDict], int], *, informed: bool
    ) -> Letter:
        """Return the message for a group's clients that add this residual; ``informed``: they have the standardizer."""
        told = handed.group.number, informed, residual_round
        if told not in self._letters:
            standardizing = Standardizing(self._standardizer is not None, None if informed else self._standardizer)
            order = handed.order(self._config, self._round, standardizing, residual_round)
            content = SharedContent(content_of_order(order), len(self._letters), handed.group.number)
            self._letters[told] = Letter(order, content, bytes_of(content))
        return self._letters[told]

    def workload(self, handed: Handed, num_examples: int) -> Workload:
        """Return the work of a client of the group that has so many examples."""
        kind = handed.group.number, num_examples
        if kind not in self._works:
            axes = self._network.shared_axes
            self._works[kind] = job_workload(axes, handed.expected.model, handed.job, num_examples)
        return self._works[kind]

    def handed(self, group: Group) -> Handed:
        """Return what a group was handed out."""
        return self._handed[group.number]

    def lost(self) -> BroadcastResiduals:
        """Return the residuals of the parts that this round sent."""
        return BroadcastResiduals(self._lost)
