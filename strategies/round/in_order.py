"""Replies in the order of the clients, since a sum's bits depend on its order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Reply = TypeVar("Reply")


class InOrder(Generic[Reply]):
    """Hands each reply on as soon as the replies of all clients before it are handed on.

    Replies that come in order, as from the in-process grid, are never held. A missing reply holds the replies after it
    until `close`.

    Parameters
    ----------
    nodes
        The nodes whose replies are awaited, sorted by client.
    take
        Called with each node and its reply, in order.
    """

    def __init__(self, nodes: Iterable[int], take: Callable[[int, Reply], None]) -> None:
        self._awaited = deque(nodes)
        self._held: dict[int, Reply] = {}
        self._take = take

    def put(self, node: int, reply: Reply) -> None:
        """Take the reply of an awaited node."""
        self._held[node] = reply
        while self._awaited and self._awaited[0] in self._held:
            self._hand_on()

    def close(self) -> None:
        """Hand on the held replies: nobody else answers."""
        while self._awaited:
            self._hand_on()

    def _hand_on(self) -> None:
        node = self._awaited.popleft()
        if node in self._held:
            self._take(node, self._held.pop(node))
