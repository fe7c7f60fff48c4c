"""A Flower grid without processes: the same strategy, messages and ClientApp, and a whole cohort trained at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fl_sparse.codec.residual import Residual
from fl_sparse.wire import SharedContent, TrainOrder, TrainReply, content_of_reply, copied, read_order
from fl_sparse.wire.residual_state import keep_residual, kept_residual
from server.flower_private import failed_reply, identify_process, number_message
from server.population import Population


@dataclass(frozen=True)
class Addressed:
    """An order, the partition id that it is for, and its group: members of a group begin with the same arrays."""

    order: TrainOrder = field(repr=False)
    client: int
    group: int


TrainCohort = Callable[[Sequence[Addressed]], Iterable[TrainReply]]
"""Orders → replies, in the same order."""

RUN_ID = 1
SERVER_NODE_ID = 1
FIRST_NODE_ID = 1000


class InProcessGrid(Grid):
    """Answers messages on the spot.

    Parameters
    ----------
    client_app
        Answers every message that is not trained as part of a cohort.
    run_config
        The run configuration in each node's context.
    num_clients
        M nodes, with partition ids 0 to M − 1.
    train_cohort
        Trains all train messages of a call at once; None sends each through ``client_app``, so that no mod is skipped.
    population
        Node ids -> what all nodes would answer to round 0's question; if None, each node is asked by a message.
    residuals
        The residuals of error feedback that ``train_cohort`` holds, by partition id.
    """

    def __init__(
        self,
        client_app: ClientApp,
        run_config: Mapping[str, Any],
        num_clients: int,
        train_cohort: TrainCohort | None,
        population: Callable[[range], Population] | None = None,
        residuals: dict[int, Residual] | None = None,
    ) -> None:
        identify_process(RUN_ID, SERVER_NODE_ID)
        self._client_app = client_app
        self._run_config = dict(run_config)
        self._num_clients = num_clients
        self._train_cohort = train_cohort
        self._population = population
        self._residuals = {} if residuals is None else residuals
        self._contexts: dict[int, Context] = {}
        self._run = Run.create_empty(RUN_ID)
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Set the run, as Flower's interface requires."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a new message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> range:
        """Return the node ids, in the order of the partition ids."""
        return range(FIRST_NODE_ID, FIRST_NODE_ID + self._num_clients)

    @property
    def streams(self) -> bool:
        """Whether train messages are answered stack by stack, as replies are asked for."""
        return self._train_cohort is not None

    def population(self) -> Population | None:
        """Return what all nodes would answer to round 0's question, None if each has to be asked."""
        return None if self._population is None else self._population(self.get_node_ids())

    def residuals(self) -> Mapping[int, Residual]:
        """Return the clients' residuals of error feedback, by partition id."""
        if self._train_cohort is not None:
            return self._residuals
        kept = {node - FIRST_NODE_ID: kept_residual(context) for node, context in self._contexts.items()}
        return {client: residual for client, residual in kept.items() if residual is not None}

    def hand_out(self, residuals: Mapping[int, Residual]) -> None:
        """Give clients their residuals, when a run goes on from a checkpoint."""
        self._residuals.update(residuals)
        if self._train_cohort is None:
            for client, residual in residuals.items():
                keep_residual(self._context(FIRST_NODE_ID + client), residual)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer the messages; their replies wait to be pulled."""
        sent = list(messages)
        for message, reply in zip(sent, self._answers(sent), strict=True):
            self._replies[message.metadata.message_id] = reply
        return [message.metadata.message_id for message in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the waiting replies to these messages."""
        return [self._replies.pop(number) for number in message_ids if number in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Answer the messages, each reply when it is asked for."""
        return self._answers(list(messages))

    def _answers(self, messages: Sequence[Message]) -> Iterator[Message]:
        for message in messages:
            number_message(message)
        together = self._cohort([message for message in messages if self._in_cohort(message)])
        for message in messages:
            yield next(together) if self._in_cohort(message) else self._one(message)

    def _in_cohort(self, message: Message) -> bool:
        return self._train_cohort is not None and message.metadata.message_type == MessageType.TRAIN

    def _cohort(self, messages: Sequence[Message]) -> Iterator[Message]:
        if not messages or self._train_cohort is None:
            return
        for message, reply in zip(messages, self._train_cohort(_addressed(messages)), strict=True):
            yield Message(content_of_reply(reply), reply_to=message)

    def _one(self, message: Message) -> Message:
        # Copy: a mod may change its node's message, and other nodes share the content.
        message.content = copied(message.content)
        try:
            return self._client_app(message, self._context(message.metadata.dst_node_id))
        except Exception as error:  # a ClientApp may raise anything; Flower answers with an error message
            return failed_reply(message, error)

    def _context(self, node: int) -> Context:
        if node not in self._contexts:
            self._contexts[node] = Context(
                run_id=RUN_ID,
                node_id=node,
                node_config={"partition-id": node - FIRST_NODE_ID, "num-partitions": self._num_clients},
                state=RecordDict(),
                run_config=self._run_config,
            )
        return self._contexts[node]


def _addressed(messages: Sequence[Message]) -> list[Addressed]:
    """Return the messages' orders; a content that several messages share is read once."""
    read: dict[int, TrainOrder] = {}
    found = []
    for position, message in enumerate(messages):
        content, client = message.content, message.metadata.dst_node_id - FIRST_NODE_ID
        if not isinstance(content, SharedContent):
            # Negative, so that it is no group's number: the client shares its arrays with nobody.
            found.append(Addressed(read_order(content), client, -1 - position))
            continue
        if content.letter not in read:
            read[content.letter] = read_order(content)
        found.append(Addressed(read[content.letter], client, content.group))
    return found
