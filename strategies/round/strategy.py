"""The one strategy: assign units, send each client its part, put the updates back together.

Index sets stay on the server; clients receive weights, scales and hyperparameters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.task import Parameters
from fl_sparse.model.network import NetworkSpec
from fl_sparse.model.parameters import CLASSES
from fl_sparse.part import PartUpdate, Reassembly
from fl_sparse.wire import (
    ClientDescription,
    Expected,
    Standardizing,
    TrainReply,
    array_record,
    content_of_evaluation_order,
    parameters_of,
    wire_bytes,
)
from strategies.clock.virtual_clock import ClientTime, VirtualClock
from strategies.round.client_evaluation import ClientEvaluation
from strategies.round.groups import AssignmentRule, Group, Observed, by_position
from strategies.round.handing import Handing, Letter
from strategies.round.in_order import InOrder
from strategies.round.orders import evaluation_order
from strategies.round.replies import LateError, Read, answers
from strategies.round.report import RoundReport, name_some, node_name
from strategies.round.sampling import Reachable, drops_out, sample
from strategies.state.broadcast import BroadcastResiduals
from strategies.state.optimizer_state import ClientOptimizerState, StateReassembly
from strategies.state.residuals import ResidualRounds
from strategies.state.server_optimizer import ServerOptimizer

log = logging.getLogger("fl_sparse.strategy")

States = Mapping[str, Mapping[str, NDArray[Any]]]
"""What outlives a round beside the model: name of a state -> its arrays, as checkpoints hold them."""


class SubmodelStrategy(Strategy):
    """Federated training of sub-models chosen by an assignment rule.

    Parameters
    ----------
    config
        The run's configuration.
    rule
        Who trains which units.
    network
        The whole model's sizes and parameters.
    clients
        Node id -> the node's description, from round 0's question.
    standardizer
        The federation's frozen mean and variance; reaches each node with its first train message.
    states
        What `states` returned, when a run goes on from a checkpoint.
    """

    def __init__(
        self,
        config: RunConfig,
        rule: AssignmentRule,
        network: NetworkSpec,
        clients: Mapping[int, ClientDescription],
        standardizer: Standardizer | None,
        states: States | None = None,
    ) -> None:
        states = states or {}
        self.config = config
        self.network = network
        self.rule = rule.load(states.get("rule", {}))
        self.clients = clients
        self.standardizer = standardizer
        self.optimizer = ServerOptimizer.from_config(config)
        self.moments = self.optimizer.load(states.get("server", {}))
        self.optimizer_state = ClientOptimizerState.load(states.get("optimizer", {}))
        self.residuals = ResidualRounds.load(states.get("residuals", {}), clients)
        self.broadcast = BroadcastResiduals.load(states.get("broadcast", {}))
        self.clock = VirtualClock.from_config(config)
        self.report = RoundReport()
        self._model = network.model
        self._parameters: Parameters = {}
        self._groups: list[Group] = []
        self._placed: dict[int, Group] = {}
        self._handing = self._new_handing(0)
        self._silent: set[int] = set()
        self._informed: set[int] = set()
        self._sums = Reassembly(self._model, {})
        self._reachable = Reachable()
        self._times: dict[int, ClientTime] = {}
        self._evaluation: ClientEvaluation | None = None

    def states(self) -> dict[str, Mapping[str, NDArray[Any]]]:
        """Return what outlives a round beside the model; empty states are left out."""
        states = {
            "server": self.optimizer.state(self.moments),
            "optimizer": self.optimizer_state.state(),
            "residuals": self.residuals.state(self.clients),
            "broadcast": self.broadcast.state(),
            "rule": self.rule.state(),
        }
        return {name: arrays for name, arrays in states.items() if arrays}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return a train message for each client of the round, except those drawn to drop out or late by the clock.

        The record counts these as asked and lost; no reply is awaited.
        """
        self._begin_round(server_round, parameters_of(arrays), grid.get_node_ids())
        messages = []
        for node, group in self._placed.items():
            client, handed = self.clients[node], self._handing.part(group, self._model_of(node))
            residual_round = self.residuals.applying(node, group.placement.part) if self.config.error_feedback else 0
            letter = self._handing.letter(handed, residual_round, self._bytes_of, informed=node in self._informed)
            work = self._handing.workload(handed, client.num_examples)
            self.report.work.append(work)
            self.report.bytes_down += letter.size
            if self.clock is not None:
                self._times[node] = self._time_of(node, letter, handed.expected, work.total_flops)
            if drops_out(self.config, server_round, client.partition_id) or self._is_late(node):
                self._silent.add(node)
            else:
                messages.append(Message(letter.content, node, MessageType.TRAIN, group_id=str(server_round)))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the next global model; without a usable reply, nothing changes."""
        self._begin()
        accepted: dict[int, tuple[int, float]] = {}
        in_order = InOrder((node for node in self._placed if node not in self._silent), self._take)
        heard: set[int] = set()
        for answer in answers(replies, self._placed, self._reader(server_round), self._bytes_of):
            self.report.bytes_up += answer.sent
            if answer.node is None:
                log.warning("round %d: a client failed: %s", server_round, answer.reason)
            elif not answer.late:
                heard.add(answer.node)
                if answer.value is None:
                    self._refuse(server_round, answer.node, answer.reason)
                else:
                    accepted[answer.node] = answer.value.num_examples, answer.value.loss
                    in_order.put(answer.node, answer.value)
            # Drop the reply before the next one is made: memory holds one at a time.
            del answer
        in_order.close()
        self._close(server_round, heard)
        if not accepted:
            return None, None
        # Sort by client: replies arrive in any order, and a sum's bits depend on its order.
        counted = [accepted[node] for node in self._placed if node in accepted]
        total = sum(examples for examples, _ in counted)
        loss = sum(examples * loss for examples, loss in counted) / total
        self.report.train_loss = loss
        before = self._parameters
        after = self._reassemble()
        answered = tuple(position for position, node in enumerate(self._placed) if node in accepted)
        self.rule = self.rule.observe(Observed(server_round, self._model, before, after, self._groups, answered))
        return array_record(after), MetricRecord({"train-loss": loss, "num-examples": total})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the whole model for every reachable client, when clients evaluate."""
        if self.config.evaluate != "clients":
            return []
        self._parameters = parameters_of(arrays)
        asked = ClientEvaluation(server_round, self._model, self.clients, self.report, self.clock, self._bytes_of)
        self._evaluation = asked
        standardizing = Standardizing(self.standardizer is not None, self.standardizer)

        def content(node: int) -> RecordDict:
            model = self._model_of(node)
            return content_of_evaluation_order(
                evaluation_order(self.config, self.network, server_round, model, standardizing)
            )

        return [
            asked.question(node, content(node)) for node in self._reachable.among(grid.get_node_ids(), self.clients)
        ]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return the clients' example-weighted accuracy and loss; None where clients do not evaluate."""
        return None if self._evaluation is None else self._evaluation.collect(replies)

    def initial(self, parameters: Parameters) -> Parameters:
        """Return what round 1 starts from, given the initial model."""
        return parameters

    def summary(self) -> None:
        """Log what the strategy is."""
        log.info("%s over %d clients", self.config.strategy, len(self.clients))

    def _model_of(self, node: int) -> Parameters:
        """Return the model that a node is given its part of."""
        return self._parameters

    def _bytes_of(self, content: RecordDict) -> int:
        """Return the bytes that a message counts for."""
        return wire_bytes(content)

    def _time_of(self, node: int, letter: Letter, expected: Expected, flops: float) -> ClientTime:
        """Return what a node's local training takes by the clock."""
        assert self.clock is not None
        return self.clock.training(self.clients[node], letter.order, expected, flops)

    def _begin_round(self, server_round: int, parameters: Parameters, nodes: Iterable[int]) -> None:
        """Draw the round's clients, place them, and clear what the round before left."""
        self._parameters = parameters
        reachable = self._reachable.among(nodes, self.clients)
        asked = sample(self.config, server_round, reachable)
        self._groups = self.rule.place(server_round, [self.clients[node] for node in asked])
        self._placed = dict(zip(asked, by_position(self._groups), strict=True))
        self.report = RoundReport(asked=len(self._placed))
        self._times, self._silent = {}, set()
        self.optimizer_state = self.optimizer_state.begun(self._model, parameters, self.config)
        self._handing = self._new_handing(server_round)

    def _is_late(self, node: int) -> bool:
        """Tell whether the node's reply is late by the clock; if so, note it."""
        if self.clock is None or not self.clock.is_late(self._times[node]):
            return False
        self.report.add_late(f"{self._name(node)}: {self.clock.late_words(self._times[node])}")
        return True

    def _new_handing(self, server_round: int) -> Handing:
        return Handing(self.config, self.network, server_round, self.standardizer, self.optimizer_state, self.broadcast)

    def _reader(self, server_round: int) -> Read[TrainReply]:
        """Return the function that reads and checks a reply."""

        def read(content: RecordDict, node: int) -> TrainReply:
            if node in self._times:
                self._times[node] = replace(self._times[node], bytes_up=self._bytes_of(content))
                if self._is_late(node):
                    raise LateError
            group = self._placed[node]
            reply = self._handing.handed(group).read(content, server_round)
            if self.config.error_feedback:
                self.residuals.accept(node, server_round, group.placement.part)
            self._informed.add(node)
            return reply

        return read

    def _refuse(self, server_round: int, node: int, reason: str) -> None:
        self._informed.discard(node)
        name = self._name(node)
        self.report.add_refused(f"{name}: {reason}")
        log.warning("round %d: refused the reply of %s: %s", server_round, name, reason)

    def _close(self, server_round: int, heard: set[int]) -> None:
        """Note who was not heard, and how long the round took by the clock."""
        # Count nodes, not replies: a node may answer twice, or first with a late reply to the round before.
        missing = [node for node in self._placed if node not in heard]
        self.report.answered = len(self._placed) - len(missing)
        if self.clock is not None:
            heard_times = [time for node, time in self._times.items() if node in heard]
            self.report.simulated_seconds = self.clock.round_seconds(heard_times, [self._times[n] for n in missing])
        self.report.close_late()
        if missing:
            # A missing node may have been restarted and lost its state: it is sent the standardizer again.
            self._informed.difference_update(missing)
            named = name_some([self._name(node) for node in missing])
            log.warning("round %d: no answer from %s", server_round, named)
        self.broadcast = self._handing.lost()

    def _name(self, node: int) -> str:
        return node_name(node, self.clients)

    def _begin(self) -> None:
        """Get ready for a round's updates."""
        self._sums = Reassembly(self._model, self._parameters)
        self._state_sums = StateReassembly(self._model, self.optimizer_state)

    def _take(self, node: int, reply: TrainReply) -> None:
        """Add an update; updates come sorted by client."""
        placement = self._placed[node].placement
        weight = reply.num_examples if placement.by_examples else 1.0

        def held(values: Mapping[str, Any]) -> PartUpdate:
            update = PartUpdate(placement.part, values, weight)
            if reply.classes is None:
                return update
            return update.within(self._model, CLASSES, np.array(reply.classes, dtype=np.int64))

        self._sums.add(held(reply.parameters))
        self._state_sums.add({moment: held(values) for moment, values in reply.moments.items()})

    def _reassemble(self) -> Parameters:
        """Return the next global model, from the updates taken."""
        self.optimizer_state = self._state_sums.result(self.config.local_steps)
        averaged, covered = self._sums.result()
        if self.config.bias_updates == "drop":
            # The paper's released code never gathers biases; this option measures what that costs.
            biases = [name for name in averaged if self._model[name].role == "bias"]
            averaged |= {name: self._parameters[name] for name in biases}
        parameters, self.moments = self.optimizer.step(self._parameters, averaged, covered, self.moments)
        return parameters
