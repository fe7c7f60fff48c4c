"""Arrays in Flower records, without copies."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.constant import SType
from numpy.typing import NDArray

from fl_sparse.part.factored import FactoredWeight
from fl_sparse.wire.flower_private import filled

SMALL = 4096
"""Up to this many values, checking each is faster than switching NumPy's overflow warnings off and on."""
ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
"""The names of a message's records."""
NO_RECORDS, NO_METRICS = RecordDict(), MetricRecord()
_NO_ARRAYS = ArrayRecord()
RecordOfKind = TypeVar("RecordOfKind", ArrayRecord, ConfigRecord, MetricRecord)


class LazyArray(Array):
    """A Flower array that holds its values, and serialises them only when another process needs ``data``."""

    # Flower writes the class's name into the serialised object and reads it back as ``Array``.
    __qualname__ = "Array"

    def __init__(self, values: NDArray[Any] | FactoredWeight) -> None:
        self.__dict__.update(
            values=values, dtype=_name(values.dtype), shape=values.shape, stype=SType.NUMPY, _is_dirty=True
        )

    @property
    def data(self) -> bytes:
        """The array as Flower serialises it: the bytes of ``numpy.save``."""
        if "_data" not in self.__dict__:
            buffer = io.BytesIO()
            np.save(buffer, self.numpy(), allow_pickle=False)
            self.__dict__["_data"] = buffer.getvalue()
        return self.__dict__["_data"]  # type: ignore[no-any-return]

    @data.setter
    def data(self, value: bytes) -> None:
        self.__dict__["_data"] = value
        self.__dict__["values"] = np.load(io.BytesIO(value), allow_pickle=False)

    def numpy(self) -> NDArray[Any]:
        """Return the array itself, not a copy; a factored weight is multiplied out."""
        return np.asarray(self.__dict__["values"])

    @property
    def held(self) -> NDArray[Any] | FactoredWeight:
        """The values as they are: an array, or a factored weight."""
        return self.__dict__["values"]  # type: ignore[no-any-return]


@functools.cache
def _name(dtype: np.dtype[Any]) -> str:
    return str(dtype)


def record_of(content: RecordDict, name: str, kind: type[RecordOfKind]) -> RecordOfKind | None:
    """Return a message's record if it is there and of this kind, without Flower's views by kind, which copy."""
    found = content.get(name)
    return found if isinstance(found, kind) else None


def finite(values: NDArray[Any] | FactoredWeight) -> bool:
    """Tell whether all values of a float array are finite.

    Large arrays are checked by their sum of squares, in one pass: it is finite only if all values are. If it is not, it
    may have overflowed, and each value is checked.
    """
    if isinstance(values, FactoredWeight):
        return values.finite()
    if values.size <= SMALL:
        return bool(np.isfinite(values).all())
    flat = values.reshape(-1)
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.dot(flat, flat)) or np.isfinite(flat).all())


def array_record(parameters: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    """Return arrays as one record that shares their memory."""
    # Avoid Flower's constructor, which would copy through bytes.
    return filled(_NO_ARRAYS, {name: LazyArray(values) for name, values in parameters.items()})


def parameters_of(record: ArrayRecord) -> dict[str, NDArray[Any]]:
    """Return a record's arrays by name.

    Raises
    ------
    ValueError
        If an array cannot be read as NumPy data (pickled objects are never read).
    """
    return {name: np.asarray(values) for name, values in held_values(record).items()}


def held_values(record: ArrayRecord) -> dict[str, NDArray[Any] | FactoredWeight]:
    """Return a record's values by name, factored weights as they are.

    Raises
    ------
    ValueError
        As `parameters_of`.
    """
    arrays: dict[str, NDArray[Any] | FactoredWeight] = {}
    for name, array in record.items():
        try:
            arrays[name] = array.held if isinstance(array, LazyArray) else array.numpy()
        except Exception as error:  # NumPy and Flower raise errors of several types on damaged data
            raise ValueError(f"{name} cannot be read: {error}") from None
    return arrays
