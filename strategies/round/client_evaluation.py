"""Clients evaluate the whole model: questions, answers, their cost, and the resulting accuracy and loss."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from flwr.app import Message, MessageType, MetricRecord, RecordDict

from fl_sparse.model.cost import forward_flops
from fl_sparse.model.parameters import Model
from fl_sparse.wire import ClientDescription, EvaluationReply, read_evaluation
from strategies.clock.virtual_clock import ClientTime, VirtualClock
from strategies.round.replies import answers
from strategies.round.report import RoundReport, node_name

log = logging.getLogger("fl_sparse.strategy")


class ClientEvaluation:
    """One evaluation by the clients.

    Parameters
    ----------
    server_round
        The round whose model is evaluated.
    model
        The parameters that clients evaluate.
    clients
        Node id -> description, of all clients.
    report
        The round's report; bytes, simulated seconds and answers are added to it.
    clock
        The run's virtual clock, None without one.
    bytes_of
        Content -> the bytes that it counts for.
    """

    def __init__(
        self,
        server_round: int,
        model: Model,
        clients: Mapping[int, ClientDescription],
        report: RoundReport,
        clock: VirtualClock | None,
        bytes_of: Callable[[RecordDict], int],
    ) -> None:
        self._round = server_round
        self._model = model
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

    def collect(self, replies: Iterable[Message]) -> MetricRecord | None:
        """Return the clients' example-weighted accuracy and loss, None without an answer.

        Refused answers are counted and named in the report.
        """
        accepted: dict[int, EvaluationReply] = {}
        longest = 0.0
        for answer in answers(replies, self._asked, self._read, self._bytes_of):
            self._report.bytes_up += answer.sent
            if answer.node is None:
                log.warning("round %d: a client failed to evaluate: %s", self._round, answer.reason)
            elif answer.value is None:
                self._refuse(answer.node, answer.reason)
            else:
                accepted[answer.node] = answer.value
                if answer.node in self._times:
                    flops = forward_flops(self._model, answer.value.num_examples)
                    time = replace(self._times[answer.node], flops=flops, bytes_up=answer.sent)
                    longest = max(longest, time.seconds)
        if self._report.simulated_seconds is not None:
            self._report.simulated_seconds += longest
        if not accepted:
            return None
        # Sort by client: a sum's bits depend on its order.
        nodes = sorted(accepted, key=lambda node: self._clients[node].partition_id)
        self._report.evaluations = {self._clients[node].partition_id: accepted[node] for node in nodes}
        ordered = list(self._report.evaluations.values())
        total = sum(answer.num_examples for answer in ordered)
        accuracy = sum(answer.num_examples * answer.accuracy for answer in ordered) / total
        loss = sum(answer.num_examples * answer.loss for answer in ordered) / total
        return MetricRecord({"accuracy": accuracy, "loss": loss, "num-examples": total})

    def _read(self, content: RecordDict, node: int) -> EvaluationReply:
        return read_evaluation(content, round_number=self._round)

    def _refuse(self, node: int, reason: str) -> None:
        name = node_name(node, self._clients)
        self._report.add_refused(f"{name}: evaluation: {reason}")
        log.warning("round %d: refused the evaluation of %s: %s", self._round, name, reason)
