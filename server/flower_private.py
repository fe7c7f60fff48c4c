"""The private names of Flower that the in-process grid needs, all in one place; the dependency is pinned for them."""

from __future__ import annotations

import itertools

from flwr.app import Error, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

_message_numbers = itertools.count(1)


def identify_process(run_id: int, node_id: int) -> None:
    """Say who sends the messages that this process creates."""
    TaskIdentity.task_id = run_id
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id


def number_message(message: Message) -> None:
    """Give a message the id that a SuperLink would have given it."""
    message.metadata.__dict__["_message_id"] = f"in-process-{next(_message_numbers)}"


def trains_plainly(client_app: ClientApp, handler: ClientAppCallable) -> bool:
    """Say whether the app answers train messages by ``handler`` alone, with no mod around it."""
    return client_app._registered_funcs.get("train.default") is handler


def failed_reply(message: Message, error: Exception) -> Message:
    """Return the reply that Flower makes of a ClientApp's exception."""
    reason = f"{type(error).__name__}: {error}"
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)
