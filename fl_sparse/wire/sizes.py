"""A message's bytes on the wire, from its keys, types and shapes: nothing is serialised to be counted."""

from __future__ import annotations

import functools
import io
import json
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE as CHUNK
from numpy.typing import NDArray

from fl_sparse.part.factored import FactoredWeight
from fl_sparse.wire.arrays import LazyArray

ID = "0" * 64
"""A stand-in for an object's name, which is Flower's hash of it, of the same length."""
FLOAT = 9
"""Bytes of a float as a value: tag and eight bytes."""
MAX_SINT64 = 2**63 - 1
Layout = tuple[np.dtype[Any], tuple[int, ...], bool]
REPEATED = (bool, str)
"""Types whose values are mostly the same for all clients: their sizes are cached."""


def wire_bytes(content: RecordDict) -> int:
    """Return the bytes of a message's content as Flower sends it: every object of its tree, deflated.

    Sizes of arrays follow from shape and dtype, sizes of other records from Protocol Buffers' encoding of their values.
    The envelope (addresses and times, about 100 bytes) is left out, since it depends on node ids that are drawn anew in
    each run. Flower sends objects of equal bytes only once; here each one counts.
    """
    total = _object_bytes("RecordDict", len(content), _directory_bytes(tuple(content)))
    for record in content.values():
        if isinstance(record, ArrayRecord):
            lazy = [(name, *_layout(array.held)) for name, array in record.items() if isinstance(array, LazyArray)]
            if len(lazy) == len(record):
                total += _lazy_record_bytes(tuple(lazy))
            else:
                total += _object_bytes("ArrayRecord", len(record), _directory_bytes(tuple(record)))
                total += sum(_array_bytes(array) for array in record.values())
        else:
            total += _values_bytes(record)
    return total


@functools.lru_cache(maxsize=256)
def _directory_bytes(names: tuple[str, ...]) -> int:
    return len(json.dumps(dict.fromkeys(names, ID)).encode())


def _array_bytes(array: Array) -> int:
    if isinstance(array, LazyArray):
        return _lazy_bytes(*_layout(array.held))
    return _chunked_bytes(array.dtype, tuple(array.shape), array.stype, len(array.data))


def _layout(values: NDArray[Any] | FactoredWeight) -> Layout:
    """Return dtype, shape, and whether the array is in Fortran order."""
    return values.dtype, values.shape, isinstance(values, np.ndarray) and values.flags.fnc


@functools.lru_cache(maxsize=256)
def _lazy_record_bytes(arrays: tuple[tuple[str, np.dtype[Any], tuple[int, ...], bool], ...]) -> int:
    """Size of a record of lazy arrays with these names and layouts; cached, since most of a round's messages agree."""
    directory = _directory_bytes(tuple(name for name, *_ in arrays))
    total = _object_bytes("ArrayRecord", len(arrays), directory)
    return total + sum(_lazy_bytes(dtype, shape, fortran) for _, dtype, shape, fortran in arrays)


@functools.lru_cache(maxsize=1024)
def _lazy_bytes(dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> int:
    like = np.empty(shape, dtype=dtype, order="F" if fortran else "C")
    array, header = LazyArray(like), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(like))
    return _chunked_bytes(array.dtype, shape, array.stype, header.tell() + like.nbytes)


def _chunked_bytes(dtype: str, shape: tuple[int, ...], stype: str, data: int) -> int:
    sizes = [min(CHUNK, data - start) for start in range(0, data, CHUNK)]
    about = {"dtype": dtype, "shape": shape, "stype": stype, "arraychunk_ids": list(range(len(sizes)))}
    total = _object_bytes("Array", len(sizes), len(json.dumps(about).encode()))
    return total + sum(_object_bytes("ArrayChunk", 0, size) for size in sizes)


def _object_bytes(kind: str, children: int, body: int) -> int:
    """Size of a deflated object: ``<kind> <child ids of 64 hex digits, comma-separated> <body length>`` NUL body."""
    ids = 65 * children - 1 if children else 0
    return len(kind) + 1 + ids + 1 + len(str(body)) + 1 + body


def _values_bytes(record: ConfigRecord | MetricRecord) -> int:
    """Size of a deflated record of values: a repeated field of items, each a key and a value of one of several types.

    References
    ----------
    protobuf.dev/programming-guides/encoding; ``flwr/proto/recorddict.proto``: field numbers are below 16, so a field's
    tag is one byte, except for lists in a value, whose tags are two bytes.
    """
    body = 0
    for key, value in record.items():
        if type(value) is float:
            body += _sized_item_bytes(key, FLOAT)
        elif type(value) is int:
            body += _sized_item_bytes(key, _value_bytes(value))
        else:
            body += _known_item_bytes(key, value) if type(value) in REPEATED else _item_bytes(key, value)
    return _object_bytes(type(record).__name__, 0, body)


@functools.lru_cache(maxsize=256)
def _sized_item_bytes(key: str, value: int) -> int:
    """Size of an item whose value has so many bytes."""
    return _nested(_key_bytes(key) + _nested(value))


def _item_bytes(key: str, value: Any) -> int:
    return _sized_item_bytes(key, _value_bytes(value))


_known_item_bytes: Any = functools.lru_cache(maxsize=256, typed=True)(_item_bytes)


@functools.lru_cache(maxsize=256)
def _key_bytes(key: str) -> int:
    return _text_bytes(key) if key else 0  # a field of its default value is left out


def _value_bytes(value: Any) -> int:
    """Size of a value in its ``oneof``, where defaults are written too; a list is a message with one field."""
    if isinstance(value, float):
        return FLOAT
    if isinstance(value, list):
        return 1 + _nested(_list_bytes(value))
    if isinstance(value, str | bytes):
        return _text_bytes(value)
    return 1 + _number_bytes(value, unsigned=isinstance(value, int) and value > MAX_SINT64)


def _list_bytes(values: list[Any]) -> int:
    if not values:
        return 0
    if isinstance(values[0], str | bytes):
        return sum(_text_bytes(value) for value in values)
    if isinstance(values[0], float):  # a list's values are of one type
        return _nested(8 * len(values))
    unsigned = any(isinstance(value, int) and value > MAX_SINT64 for value in values)
    return _nested(sum(_number_bytes(value, unsigned=unsigned) for value in values))


def _number_bytes(value: bool | int, *, unsigned: bool) -> int:
    if isinstance(value, bool):
        return 1
    # sint64 is written in zigzag: 0, -1, 1, -2 ... as 0, 1, 2, 3 ...
    return _varint_bytes(value if unsigned else (value << 1) ^ (value >> 63))


def _text_bytes(text: str | bytes) -> int:
    return _nested(len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode()))


def _nested(size: int) -> int:
    """Size of a field of so many bytes: tag, length, content."""
    return size + 2 if size < 128 else 1 + _varint_bytes(size) + size


def _varint_bytes(value: int) -> int:
    """Size of a number, seven bits a byte."""
    return max(1, -(-value.bit_length() // 7))
