"""The one strategy: assign units, send each client its part, put the updates back together.

Index sets stay here; clients receive weights, scales and hyperparameters. Methods differ in their assignment rule.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fl_sparse.config import RunConfig
from fl_sparse.draws import Purpose, generator
from fl_sparse.exchange import ClientDescription, EvaluationReply, Parameters, TrainOrder, TrainReply
from fl_sparse.features.moments import Standardizer
from fl_sparse.flops import examples_trained
from fl_sparse.subnet import SubnetUpdate, extract, reassemble
from fl_sparse.training.optimizers import OptimizerSpec
from fl_sparse.wire import array_record, content_of_order, parameters_of, read_evaluation, read_reply, wire_bytes
from fl_sparse.workload import workload
from strategies.assignment import AssignmentRule, Placement, whole_model
from strategies.round_report import RoundReport
from strategies.server_optimizer import Moments, ServerOptimizer

log = logging.getLogger("fl_sparse.strategy")

SHOWN = 10
"""Clients named in one line of the log."""


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
    moments
        The server optimiser's, when a run goes on from a checkpoint.
    """

    def __init__(
        self,
        config: RunConfig,
        rule: AssignmentRule,
        clients: Mapping[int, ClientDescription],
        standardizer: Standardizer | None,
        moments: Moments | None = None,
    ) -> None:
        self.config = config
        self.optimizer = ServerOptimizer.from_config(config)
        self.moments: Moments = moments or {}
        self.rule = rule
        self.clients = dict(clients)
        self.standardizer = standardizer
        self.report = RoundReport()
        self._parameters: Parameters = {}
        self._placed: dict[int, Placement] = {}
        self._shapes: dict[int, dict[str, tuple[int, ...]]] = {}
        self._informed: set[int] = set()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return one train message a client of this round, but for those drawn to drop out.

        These are asked for the record, and are lost, without a reply to wait for.
        """
        self._parameters = parameters_of(arrays)
        nodes = self._sample(server_round, set(grid.get_node_ids()))
        placements = self.rule.place(server_round, [self.clients[node] for node in nodes])
        self._placed = dict(zip(nodes, placements, strict=True))
        self.report = RoundReport(asked=len(nodes))
        messages = []
        for node, placement in self._placed.items():
            order = self._order(server_round, node, placement)
            self._shapes[node] = {name: values.shape for name, values in order.parameters.items()}
            examples = examples_trained(
                self.clients[node].num_examples,
                order.batch_size,
                first_step=order.first_step,
                steps=order.local_steps,
            )
            shapes = self._shapes[node]
            distils = order.self_distillation
            self.report.work.append(workload(shapes, examples, order.prefixes, self_distillation=distils))
            content = content_of_order(order)
            self.report.bytes_down += wire_bytes(content)
            if not self._drops_out(server_round, node):
                messages.append(Message(content, node, MessageType.TRAIN, group_id=str(server_round)))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the next global model; without a usable reply, nothing changes."""
        accepted: dict[int, TrainReply] = {}
        heard: set[int] = set()
        for message in replies:
            if message.has_error():
                log.warning("round %d: a client failed: %s", server_round, message.error.reason)
                continue
            node = message.metadata.src_node_id
            self.report.bytes_up += wire_bytes(message.content)
            heard.add(node)
            try:
                accepted[node] = self._accept(server_round, message, node, accepted)
            except ValueError as error:
                self._refuse(server_round, node, str(error))
        # By node, not by reply: one may answer twice, or first with a late reply to the round before.
        missing = [node for node in self._placed if node not in heard]
        self.report.answered = len(self._placed) - len(missing)
        if missing:
            # One that was restarted has lost its state, too: it is sent the standardizer again.
            self._informed.difference_update(missing)
            named = ", ".join(self._name(node) for node in missing[:SHOWN])
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            log.warning("round %d: no answer from %s%s", server_round, named, more)
        if not accepted:
            return None, None
        # Sorted by client, since a sum's bits depend on its order and replies arrive in any.
        nodes = sorted(accepted, key=lambda node: self.clients[node].partition_id)
        total = sum(accepted[node].num_examples for node in nodes)
        loss = sum(accepted[node].num_examples * accepted[node].loss for node in nodes) / total
        self.report.train_loss = loss
        arrays = array_record(self._reassemble(nodes, accepted))
        return arrays, MetricRecord({"train-loss": loss, "num-examples": total})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the whole model for every reachable client, when clients evaluate."""
        if self.config.evaluate != "clients":
            return []
        self._parameters = parameters_of(arrays)
        whole = whole_model(self.config.widths)
        messages = []
        for node in self._reachable(set(grid.get_node_ids())):
            # A node that never trained, or lost its state, has no standardizer: an evaluation stands by itself.
            order = replace(self._order(server_round, node, whole), standardizer=self.standardizer)
            content = content_of_order(order)
            self.report.bytes_down += wire_bytes(content)
            messages.append(Message(content, node, MessageType.EVALUATE, group_id=str(server_round)))
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return the clients' example-weighted accuracy and loss."""
        answers: dict[int, EvaluationReply] = {}
        for message in replies:
            if message.has_error():
                log.warning("round %d: a client failed to evaluate: %s", server_round, message.error.reason)
                continue
            self.report.bytes_up += wire_bytes(message.content)
            node = message.metadata.src_node_id
            try:
                answers[node] = read_evaluation(message.content, round_number=server_round)
            except ValueError as error:
                log.warning("round %d: refused the evaluation of %s: %s", server_round, self._name(node), error)
        if not answers:
            return None
        # Sorted by client, since a sum's bits depend on its order.
        ordered = [answers[node] for node in self._reachable(set(answers))]
        total = sum(answer.num_examples for answer in ordered)
        accuracy = sum(answer.num_examples * answer.accuracy for answer in ordered) / total
        loss = sum(answer.num_examples * answer.loss for answer in ordered) / total
        return MetricRecord({"accuracy": accuracy, "loss": loss, "num-examples": total})

    def summary(self) -> None:
        """Log what the strategy is."""
        log.info("%s over %d clients", self.config.strategy, len(self.clients))

    def _reachable(self, nodes: set[int]) -> list[int]:
        known = [node for node in nodes if node in self.clients]
        return sorted(known, key=lambda node: self.clients[node].partition_id)

    def _sample(self, server_round: int, nodes: set[int]) -> list[int]:
        """Draw the round's clients by partition id, so that node ids, which are random, do not matter."""
        reachable = self._reachable(nodes)
        wanted = self.config.clients_per_round or len(reachable)
        if wanted >= len(reachable):
            return reachable
        drawn = generator(Purpose.CLIENT_SAMPLE, self.config.seed, server_round).choice(
            len(reachable), size=wanted, replace=False, shuffle=False
        )
        return [reachable[position] for position in sorted(drawn)]

    def _drops_out(self, server_round: int, node: int) -> bool:
        client = self.clients[node].partition_id
        drawn = generator(Purpose.CLIENT_FAILURE, self.config.seed, server_round, client).random()
        return bool(drawn < self.config.dropout_probability)

    def _order(self, server_round: int, node: int, placement: Placement) -> TrainOrder:
        config = self.config
        return TrainOrder(
            round=server_round,
            subnet=placement.subnet,
            parameters=extract(self._parameters, placement.assignment),
            scales=placement.scales,
            activation=config.activation,
            normalization=config.normalization,
            optimizer=OptimizerSpec(config.optimizer, config.learning_rate, config.momentum, config.proximal),
            first_step=(server_round - 1) * config.local_steps,
            local_steps=config.local_steps,
            batch_size=config.batch_size,
            seed=config.seed,
            standardizer=None if node in self._informed else self.standardizer,
            expects_standardizer=self.standardizer is not None,
            prefixes=placement.prefixes,
            self_distillation=config.self_distillation,
        )

    def _accept(self, server_round: int, message: Message, node: int, accepted: Mapping[int, TrainReply]) -> TrainReply:
        if node not in self._placed:
            raise ValueError("the node was not asked")
        if node in accepted:
            raise ValueError("the node answered twice")
        reply = read_reply(
            message.content,
            round_number=server_round,
            subnet=self._placed[node].subnet,
            shapes=self._shapes[node],
        )
        self._informed.add(node)
        return reply

    def _refuse(self, server_round: int, node: int, reason: str) -> None:
        self._informed.discard(node)
        name = self._name(node)
        self.report.refused += 1
        self.report.reasons.append(f"{name}: {reason}")
        log.warning("round %d: refused the reply of %s: %s", server_round, name, reason)

    def _name(self, node: int) -> str:
        return f"client {self.clients[node].partition_id}" if node in self.clients else f"node {node}"

    def _reassemble(self, nodes: Sequence[int], accepted: Mapping[int, TrainReply]) -> Parameters:
        updates = [
            SubnetUpdate(
                self._placed[node].assignment,
                accepted[node].parameters,
                accepted[node].num_examples if self._placed[node].by_examples else 1.0,
            )
            for node in nodes
        ]
        averaged, covered = reassemble(self._parameters, updates)
        if self.config.bias_updates == "drop":
            # The paper's release never gathers biases: kept as an option to measure what that costs.
            averaged |= {name: values for name, values in self._parameters.items() if name.endswith(".bias")}
        parameters, self.moments = self.optimizer.step(self._parameters, averaged, covered, self.moments)
        return parameters
