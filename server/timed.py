"""The time spent waiting for items that come one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Timed(Iterable[Item]):
    """The items that ``ask`` returns, and the seconds spent asking and waiting for them, without what comes between."""

    def __init__(self, ask: Callable[[], Iterable[Item]]) -> None:
        self._ask = ask
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Item]:
        began = time.perf_counter()
        items = iter(self._ask())
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - began
            yield item
            del item
            began = time.perf_counter()
