"""A message content of one's own, where several clients are sent the same."""

from __future__ import annotations

from typing import Any

from flwr.app import ArrayRecord, RecordDict

from fl_sparse.wire.arrays import LazyArray
from fl_sparse.wire.flower_private import filled

_NO_RECORDS = RecordDict()


def copied(content: RecordDict) -> RecordDict:
    """Return a copy whose records, lists and arrays can be replaced; the arrays' values are shared."""
    return filled(_NO_RECORDS, {name: _record(record) for name, record in content.items()})


def _record(record: Any) -> Any:
    if isinstance(record, ArrayRecord):
        own: dict[str, Any] = {
            name: LazyArray(array.held) for name, array in record.items() if isinstance(array, LazyArray)
        }
    else:
        own = {key: list(value) for key, value in record.items() if isinstance(value, list)}
    return filled(record, own)
