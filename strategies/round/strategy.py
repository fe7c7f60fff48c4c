"""The one strategy: assign units, send each client its part, put the updates back together.

Index sets stay here; clients receive weights, scales and hyperparameters. Methods differ in their assignment rule.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fl_sparse.codec.error_feedback import add_update
from fl_sparse.config import RunConfig
from fl_sparse.features.statistics import Standardizer
from fl_sparse.model.workload import Workload
from fl_sparse.part import Reassembly, SubnetUpdate
from fl_sparse.wire import array_record, content_of_order, parameters_of, read_reply, wire_bytes
from fl_sparse.wire.exchange import ClientDescription, Parameters, TrainOrder, TrainReply
from strategies.clock.virtual_clock import ClientTime, VirtualClock
from strategies.round.client_evaluation import ClientEvaluation
from strategies.round.groups import AssignmentRule, Placement, whole_model
from strategies.round.in_order import InOrder
from strategies.round.orders import Letter, evaluation_order, order_workload, train_order
from strategies.round.parts import Parts
from strategies.round.report import RoundReport, name_some, node_name
from strategies.round.sampling import Reachable, drops_out, sample
from strategies.state.optimizer_state import KeptState, StateReassembly
from strategies.state.residuals import ResidualRounds
from strategies.state.server_optimizer import Moments, ServerOptimizer

log = logging.getLogger("fl_sparse.strategy")


class SubmodelStrategy(Strategy):
    """Federated training of sub-models chosen by an assignment rule.

    Parameters
    ----------
    config
        The run's configuration.
    rule
        Who trains which units.
    clients
        Node id -> the node's description, from round 0's question.
    standardizer
        The federation's frozen mean and variance; reaches each node with its first train message.
    moments, kept
        The server optimiser's moments, and the clients' optimiser state, when a run goes on from a checkpoint.
    """

    def __init__(
        self,
        config: RunConfig,
        rule: AssignmentRule,
        clients: Mapping[int, ClientDescription],
        standardizer: Standardizer | None,
        moments: Moments | None = None,
        kept: KeptState | None = None,
    ) -> None:
        self.config = config
        self.optimizer = ServerOptimizer.from_config(config)
        self.moments: Moments = moments or {}
        self.kept = kept or KeptState()
        self.rule = rule
        self.clients = clients
        self.standardizer = standardizer
        self.report = RoundReport()
        self._parameters: Parameters = {}
        self._placed: dict[int, Placement] = {}
        self._shapes: dict[int, Mapping[str, tuple[int, ...]]] = {}
        self._parts = Parts(self.kept)
        self._silent: set[int] = set()
        self._informed: set[int] = set()
        self._sums = Reassembly({})
        self._reachable = Reachable()
        self._residuals = ResidualRounds()
        self.clock = VirtualClock.from_config(config)
        self._times: dict[int, ClientTime] = {}
        self._evaluation: ClientEvaluation | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return one train message a client of this round, but for those drawn to drop out or late by the clock.

        These are asked for the record, and are lost, without a reply to wait for.
        """
        self._parameters = parameters_of(arrays)
        described = self._sampled(server_round, grid.get_node_ids())
        self._placed = dict(zip(described, self.rule.place(server_round, [*described.values()]), strict=True))
        self.report = RoundReport(asked=len(self._placed))
        self._times, self._shapes, self._silent = {}, {}, set()
        self.kept = self.kept.begun(self._parameters, self.config)
        self._parts = Parts(self.kept)
        letters: dict[tuple[Any, ...], Letter] = {}
        works: dict[tuple[int, int], Workload] = {}
        messages = []
        for node, placement in self._placed.items():
            letter, client = self._letter(server_round, node, placement, letters), described[node]
            self._shapes[node] = letter.shapes
            kind = id(letter), client.num_examples
            if kind not in works:
                works[kind] = order_workload(letter.order, client.num_examples)
            work = works[kind]
            self.report.work.append(work)
            self.report.bytes_down += letter.size
            if self.clock is not None:
                self._times[node] = self._time_of(node, letter.order, work.total_flops, self.clock)
            silent = drops_out(self.config, server_round, client.partition_id)
            if silent or self._is_late(node):
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
        for message in replies:
            if message.has_error():
                log.warning("round %d: a client failed: %s", server_round, message.error.reason)
                continue
            node = message.metadata.src_node_id
            sent = self._bytes_of(message.content)
            self.report.bytes_up += sent
            if node in self._times:
                self._times[node] = replace(self._times[node], bytes_up=sent)
                if self._is_late(node):
                    continue
            heard.add(node)
            try:
                reply = self._accept(server_round, message, node, accepted)
            except ValueError as error:
                self._refuse(server_round, node, str(error))
            else:
                accepted[node] = reply.num_examples, reply.loss
                in_order.put(node, reply)
                # What is added up is let go of before the next reply is made.
                del reply, message
        in_order.close()
        # By node, not by reply: one may answer twice, or first with a late reply to the round before.
        missing = [node for node in self._placed if node not in heard]
        self.report.answered = len(self._placed) - len(missing)
        if self.clock is not None:
            heard_times = [time for node, time in self._times.items() if node in heard]
            self.report.simulated_seconds = self.clock.round_seconds(heard_times, [self._times[n] for n in missing])
        self.report.close_late()
        if missing:
            # One that was restarted has lost its state, too: it is sent the standardizer again.
            self._informed.difference_update(missing)
            named = name_some([self._name(node) for node in missing])
            log.warning("round %d: no answer from %s", server_round, named)
        if not accepted:
            return None, None
        # Sorted by client, since a sum's bits depend on its order and replies arrive in any.
        counted = [accepted[node] for node in self._placed if node in accepted]
        total = sum(examples for examples, _ in counted)
        loss = sum(examples * loss for examples, loss in counted) / total
        self.report.train_loss = loss
        arrays = array_record(self._reassemble())
        return arrays, MetricRecord({"train-loss": loss, "num-examples": total})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the whole model for every reachable client, when clients evaluate."""
        if self.config.evaluate != "clients":
            return []
        self._parameters = parameters_of(arrays)
        whole = whole_model(self.config.widths)
        asked = ClientEvaluation(server_round, self.clients, self.report, self.clock, self._bytes_of)
        self._evaluation = asked
        return [
            asked.question(
                node, content_of_order(evaluation_order(self._order(server_round, node, whole), self.standardizer))
            )
            for node in self._reachable.among(grid.get_node_ids(), self.clients)
        ]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return the clients' example-weighted accuracy and loss; None where clients do not evaluate."""
        return None if self._evaluation is None else self._evaluation.collect(replies, self._model_of)

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
        """Return what a message counts for."""
        return wire_bytes(content)

    def _time_of(self, node: int, order: TrainOrder, flops: float, clock: VirtualClock) -> ClientTime:
        """Return what a node's local training takes by the clock."""
        return clock.training(self.clients[node], order, flops)

    def _sampled(self, server_round: int, nodes: Iterable[int]) -> dict[int, ClientDescription]:
        """Return the round's clients, by node."""
        sampled = sample(self.config, server_round, self._reachable.among(nodes, self.clients))
        return {node: self.clients[node] for node in sampled}

    def _is_late(self, node: int) -> bool:
        """Tell whether the clock has the node's reply come after the deadline, and note it."""
        if self.clock is None or not self.clock.is_late(self._times[node]):
            return False
        self.report.add_late(f"{self._name(node)}: {self.clock.late_words(self._times[node])}")
        return True

    def _order(self, server_round: int, node: int, placement: Placement) -> TrainOrder:
        return train_order(
            self.config,
            server_round,
            placement,
            self._part(node, placement),
            None if node in self._informed else self.standardizer,
            expects_standardizer=self.standardizer is not None,
            residual_round=self._residual_round(node, placement),
        )

    def _letter(
        self, server_round: int, node: int, placement: Placement, letters: dict[tuple[Any, ...], Letter]
    ) -> Letter:
        """Return what a node is sent, which those told the same share."""
        # Parameters and what else belongs to their units are cut out once a round, and kept until it is over.
        told = (
            id(self._part(node, placement)),
            placement.subnet,
            placement.scales,
            placement.prefixes,
            node in self._informed,
            self._residual_round(node, placement),
        )
        if told not in letters:
            order = self._order(server_round, node, placement)
            order = self.kept.handed(order, self._parts.moments(placement.assignment))
            content = content_of_order(order)
            shapes = {name: values.shape for name, values in order.parameters.items()}
            letters[told] = Letter(order, content, self._bytes_of(content), shapes)
        return letters[told]

    def _residual_round(self, node: int, placement: Placement) -> int:
        return self._residuals.applying(node, placement.assignment) if self.config.error_feedback else 0

    def _part(self, node: int, placement: Placement) -> Parameters:
        """Return what a node trains of its model: to be read, not written."""
        return self._parts.cut(self._model_of(node), placement.assignment)

    def _accept(self, server_round: int, message: Message, node: int, accepted: Container[int]) -> TrainReply:
        if node not in self._placed:
            raise ValueError("the node was not asked")
        if node in accepted:
            raise ValueError("the node answered twice")
        reply = read_reply(
            message.content,
            round_number=server_round,
            subnet=self._placed[node].subnet,
            shapes=self._shapes[node],
            update_format=self.config.update_format,
            moments=tuple(self.kept.moments),
            says_classes=self.config.absent_classes != "trained",
        )
        assignment = self._placed[node].assignment
        if self.config.update_format != "float32":
            sent = self._part(node, self._placed[node])
            reply = replace(reply, parameters=add_update(sent, reply.parameters))
        if self.config.error_feedback:
            self._residuals.accept(node, server_round, assignment)
        self._informed.add(node)
        return reply

    def _refuse(self, server_round: int, node: int, reason: str) -> None:
        self._informed.discard(node)
        name = self._name(node)
        self.report.add_refused(f"{name}: {reason}")
        log.warning("round %d: refused the reply of %s: %s", server_round, name, reason)

    def _name(self, node: int) -> str:
        return node_name(node, self.clients)

    def _begin(self) -> None:
        """Get ready for a round's updates."""
        self._sums, self._state_sums = Reassembly(self._parameters), StateReassembly(self.kept)

    def _take(self, node: int, reply: TrainReply) -> None:
        """Take an update; they come sorted by client."""
        placement = self._placed[node]
        weight = reply.num_examples if placement.by_examples else 1.0
        outputs = None if reply.classes is None else np.array(reply.classes, dtype=np.int64)
        update = SubnetUpdate(placement.assignment, reply.parameters, weight, outputs)
        self._sums.add(update)
        self._state_sums.add(update, reply.moments)

    def _reassemble(self) -> Parameters:
        """Return the next global model, from the updates taken."""
        self.kept = self._state_sums.result(self.config.local_steps)
        averaged, covered = self._sums.result()
        if self.config.bias_updates == "drop":
            # The paper's release never gathers biases: kept as an option to measure what that costs.
            averaged |= {name: values for name, values in self._parameters.items() if name.endswith(".bias")}
        parameters, self.moments = self.optimizer.step(self._parameters, averaged, covered, self.moments)
        return parameters
