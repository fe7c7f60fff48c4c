"""Checks, counts and refuses answers, the same way for every kind of message."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from flwr.app import Message, RecordDict

from fl_sparse.wire import wire_bytes

Value = TypeVar("Value")
Read = Callable[[RecordDict, int], Value]
"""Content and node → what it says; raises ValueError with the reason for refusal."""


class LateError(ValueError):
    """An answer after the deadline: its bytes count, the answer does not."""


@dataclass(frozen=True)
class Answer(Generic[Value]):
    """One answer.

    Parameters
    ----------
    node
        Who sent it; None for an error, whose sender Flower does not tell.
    sent
        Bytes that its content counts for.
    value
        What it says, None if it is refused, late, or an error.
    reason
        Why it is refused, or what the error says.
    late
        Whether it came after the deadline.
    """

    node: int | None
    sent: int
    value: Value | None = None
    reason: str = ""
    late: bool = False


def answers(
    replies: Iterable[Message],
    asked: Container[int],
    read: Read[Value],
    bytes_of: Callable[[RecordDict], int] = wire_bytes,
) -> Iterator[Answer[Value]]:
    """Yield an `Answer` for each reply as it arrives.

    An answer is refused if its node was not asked, has been heard already, or if it cannot be read.
    """
    accepted: set[int] = set()
    for message in replies:
        if message.has_error():
            yield Answer(None, 0, reason=str(message.error.reason).strip())
            continue
        node = message.metadata.src_node_id
        sent = bytes_of(message.content)
        try:
            if node not in asked:
                raise ValueError("the node was not asked")
            if node in accepted:
                raise ValueError("the node answered twice")
            value = read(message.content, node)
        except LateError:
            yield Answer(node, sent, late=True)
        except ValueError as error:
            yield Answer(node, sent, reason=str(error))
        else:
            accepted.add(node)
            # If the caller drops the answer before it asks for the next, memory holds one reply.
            del message
            yield Answer(node, sent, value)
            del value
