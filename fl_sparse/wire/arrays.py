"""Arrays in Flower records without copies, and what they would weigh on the wire."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE as CHUNK
from flwr.common.constant import SType
from numpy.typing import NDArray


class LazyArray(Array):
    """A Flower array that keeps its ndarray and serialises it only when a process boundary asks for ``data``."""

    # Flower writes the class's name into the serialised object and reads it back as ``Array``.
    __qualname__ = "Array"

    def __init__(self, values: NDArray[Any]) -> None:
        self.__dict__.update(
            values=values, dtype=str(values.dtype), shape=tuple(values.shape), stype=SType.NUMPY, _is_dirty=True
        )

    @property
    def data(self) -> bytes:
        """The array as Flower serialises it: the bytes of ``numpy.save``."""
        if "_data" not in self.__dict__:
            buffer = io.BytesIO()
            np.save(buffer, self.__dict__["values"], allow_pickle=False)
            self.__dict__["_data"] = buffer.getvalue()
        return self.__dict__["_data"]  # type: ignore[no-any-return]

    @data.setter
    def data(self, value: bytes) -> None:
        self.__dict__["_data"] = value
        self.__dict__["values"] = np.load(io.BytesIO(value), allow_pickle=False)

    def numpy(self) -> NDArray[Any]:
        """Return the array itself, not a copy."""
        return self.__dict__["values"]  # type: ignore[no-any-return]


def array_record(parameters: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    """Return arrays as one record that shares their memory."""
    record = ArrayRecord()
    for name, values in parameters.items():
        record[name] = LazyArray(values)  # item assignment: the constructor would copy through bytes
    return record


def parameters_of(record: ArrayRecord) -> dict[str, NDArray[Any]]:
    """Return a record's arrays by name.

    Raises
    ------
    ValueError
        If an array cannot be read as NumPy data (pickled objects are never read).
    """
    arrays = {}
    for name, array in record.items():
        try:
            arrays[name] = array.numpy()
        except Exception as error:  # NumPy and Flower raise errors of several types on damaged data
            raise ValueError(f"{name} cannot be read: {error}") from None
    return arrays


def wire_bytes(content: RecordDict) -> int:
    """Return the bytes of a message's content as Flower sends it: every object of its tree, deflated.

    Arrays are not serialised to be counted: their sizes follow from shape and dtype. The envelope (addresses and
    times, about 100 bytes) is left out, since it depends on node ids that are drawn anew in each run. Flower sends
    objects of equal bytes once; here each counts.
    """
    names = dict.fromkeys(content, "0" * 64)
    total = _object_bytes("RecordDict", len(content), len(json.dumps(names).encode()))
    for record in content.values():
        if isinstance(record, ArrayRecord):
            body = len(json.dumps(dict.fromkeys(record, "0" * 64)).encode())
            total += _object_bytes("ArrayRecord", len(record), body)
            total += sum(_array_bytes(array) for array in record.values())
        else:
            total += len(record.deflate())
    return total


def _array_bytes(array: Array) -> int:
    data = _npy_bytes(array) if isinstance(array, LazyArray) else len(array.data)
    sizes = [min(CHUNK, data - start) for start in range(0, data, CHUNK)]
    about = {
        "dtype": array.dtype,
        "shape": array.shape,
        "stype": array.stype,
        "arraychunk_ids": list(range(len(sizes))),
    }
    total = _object_bytes("Array", len(sizes), len(json.dumps(about).encode()))
    return total + sum(_object_bytes("ArrayChunk", 0, size) for size in sizes)


def _npy_bytes(array: LazyArray) -> int:
    buffer = io.BytesIO()
    values = array.numpy()
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(values))
    return buffer.tell() + values.nbytes


def _object_bytes(kind: str, children: int, body: int) -> int:
    """Size of a deflated object: ``<kind> <child ids of 64 hex digits, comma-separated> <body length>`` NUL body."""
    ids = 65 * children - 1 if children else 0
    return len(kind) + 1 + ids + 1 + len(str(body)) + 1 + body
