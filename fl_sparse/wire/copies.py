"""Message contents that several clients share, and copies for whoever changes one."""

from __future__ import annotations

from typing import Any

from flwr.app import ArrayRecord, RecordDict

from fl_sparse.wire.arrays import LazyArray
from fl_sparse.wire.flower_private import filled

_NO_RECORDS = RecordDict()


class SharedContent(RecordDict):
    """A message's content that is sent to several clients.

    Parameters
    ----------
    content
        The content.
    letter
        Its number in the round: messages with the same number have the same content.
    group
        The number of the clients' group: letters of one group begin with the same arrays.
    """

    # Flower writes the class's name into the serialised object and reads it back as ``RecordDict``.
    __qualname__ = "RecordDict"

    def __init__(self, content: RecordDict, letter: int, group: int) -> None:
        super().__init__()
        self.__dict__["_data"].update(content.items())
        self.letter, self.group = letter, group


def copied(content: RecordDict) -> RecordDict:
    """Return a copy whose records, lists and arrays can be replaced; it shares the arrays' values."""
    return filled(_NO_RECORDS, {name: _record(record) for name, record in content.items()})


def _record(record: Any) -> Any:
    if isinstance(record, ArrayRecord):
        own: dict[str, Any] = {
            name: LazyArray(array.held) for name, array in record.items() if isinstance(array, LazyArray)
        }
    else:
        own = {key: list(value) for key, value in record.items() if isinstance(value, list)}
    return filled(record, own)
