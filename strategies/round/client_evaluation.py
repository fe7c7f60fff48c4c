"""Clients evaluate the whole model: what goes out, what comes back, what it costs, and what it comes to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace

from flwr.app import Message, MessageType, MetricRecord, RecordDict

from fl_sparse.model.flops import forward_flops
from fl_sparse.wire import read_evaluation
from fl_sparse.wire.exchange import ClientDescription, EvaluationReply, Parameters
from strategies.clock.virtual_clock import ClientTime, VirtualClock
from strategies.round.report import RoundReport, node_name

log = logging.getLogger("fl_sparse.strategy")


class ClientEvaluation:
    """One evaluation by the clients.

    Parameters
    ----------
    server_round
        The round whose model is evaluated.
    clients
        Node id -> description, of all clients.
    report
        The round's report; bytes, simulated seconds and answers are added to it.
    clock
        The run's virtual clock, None without one.
    bytes_of
        What a message counts for.
    """

    def __init__(
        self,
        server_round: int,
        clients: Mapping[int, ClientDescription],
        report: RoundReport,
        clock: VirtualClock | None,
        bytes_of: Callable[[RecordDict], int],
    ) -> None:
        self._round = server_round
        self._clients = clients
        self._report = report
        self._clock = clock
        self._bytes_of = bytes_of
        self._asked: set[int] = set()
        self._times: dict[int, ClientTime] = {}

    def question(self, node: int, content: RecordDict) -> Message:
        """Return the message that asks a node to evaluate, and count it."""
        down = self._bytes_of(content)
        self._report.bytes_down += down
        self._asked.add(node)
        if self._clock is not None:
            self._times[node] = self._clock.time(self._clients[node].partition_id, bytes_down=down)
        return Message(content, node, MessageType.EVALUATE, group_id=str(self._round))

    def collect(self, replies: Iterable[Message], model_of: Callable[[int], Parameters]) -> MetricRecord | None:
        """Return the clients' example-weighted accuracy and loss, None without an answer.

        ``model_of`` gives the parameters that a node evaluates. What is refused is counted and named in the report.
        """
        answers: dict[int, EvaluationReply] = {}
        longest = 0.0
        for message in replies:
            if message.has_error():
                log.warning("round %d: a client failed to evaluate: %s", self._round, message.error.reason)
                continue
            sent = self._bytes_of(message.content)
            self._report.bytes_up += sent
            node = message.metadata.src_node_id
            try:
                answers[node] = self._accept(message, node, answers)
            except ValueError as error:
                self._refuse(node, str(error))
            else:
                if node in self._times:
                    shapes = {name: values.shape for name, values in model_of(node).items()}
                    flops = forward_flops(shapes, answers[node].num_examples)
                    longest = max(longest, replace(self._times[node], flops=flops, bytes_up=sent).seconds)
        if self._report.simulated_seconds is not None:
            self._report.simulated_seconds += longest
        if not answers:
            return None
        # Sorted by client, since a sum's bits depend on its order.
        nodes = sorted(answers, key=lambda node: self._clients[node].partition_id)
        self._report.evaluations = {self._clients[node].partition_id: answers[node] for node in nodes}
        ordered = list(self._report.evaluations.values())
        total = sum(answer.num_examples for answer in ordered)
        accuracy = sum(answer.num_examples * answer.accuracy for answer in ordered) / total
        loss = sum(answer.num_examples * answer.loss for answer in ordered) / total
        return MetricRecord({"accuracy": accuracy, "loss": loss, "num-examples": total})

    def _accept(self, message: Message, node: int, accepted: Container[int]) -> EvaluationReply:
        if node not in self._asked:
            raise ValueError("the node was not asked")
        if node in accepted:
            raise ValueError("the node answered twice")
        return read_evaluation(message.content, round_number=self._round)

    def _refuse(self, node: int, reason: str) -> None:
        name = node_name(node, self._clients)
        self._report.add_refused(f"{name}: evaluation: {reason}")
        log.warning("round %d: refused the evaluation of %s: %s", self._round, name, reason)
