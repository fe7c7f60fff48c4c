"""The batches of a stack of clients: which rows each step reads, and their features.

Symbols: A parts in the stack, τ steps, b rows of a batch, n rows of a table, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.features.statistics import Standardizer


@dataclass(frozen=True)
class Batches:
    """Which rows of which features a stack reads in each step.

    Parameters
    ----------
    features
        float32 (n, F), one table for all parts, or (A, n, F), a table for each. NumPy (memory-mapped or not), or a
        tensor on the learner's device.
    labels
        int64 (n,), or (A, n).
    rows
        int64 (A, τ, b): the rows of each step; -1 pads short batches. A step of padding only changes neither the part's
        weights nor its optimiser.
    standardizer
        Applied to each batch as it is read, if given.
    """

    features: Any = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    standardizer: Standardizer | None = field(default=None, repr=False)

    def piece(self, some: slice) -> Batches:
        """Return the batches of some of the stack's parts."""
        features = self.features[some] if self.features.ndim == 3 else self.features
        labels = self.labels[some] if self.labels.ndim == 2 else self.labels
        return Batches(features, labels, self.rows[some], self.standardizer)

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps with examples, int64 (A,)."""
        found: NDArray[np.int64] = (self.rows >= 0).any(axis=2).sum(axis=1)
        return found


@dataclass(frozen=True)
class StackedData:
    """The batches of a stack, ordered by step.

    Parameters
    ----------
    table
        float32 (rows, F), NumPy or a tensor.
    rows
        int64 (τ, A, b), rows of the table. Padding reads a row of its own client.
    labels
        int64 (τ, A, b).
    valid
        bool (τ, A, b): False where padded.
    standardizer
        Applied to each batch as it is read, if given.
    """

    table: Any = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    valid: NDArray[np.bool_] = field(repr=False)
    standardizer: Standardizer | None

    @classmethod
    def of(cls, batches: Batches) -> StackedData:
        """Return the batches ordered by step, with the features as one table."""
        features, labels, rows, standardizer = batches.features, batches.labels, batches.rows, batches.standardizer
        stack, given = len(rows), rows >= 0
        flat = rows.reshape(stack, -1)
        held = np.maximum(np.take_along_axis(flat, (flat >= 0).argmax(axis=1)[:, None], axis=1), 0)[:, :, None]
        rows = np.where(given, rows, held)
        part = np.arange(stack)[:, None, None]
        examples = labels[rows] if labels.ndim == 1 else labels[part, rows]
        if features.ndim == 3:
            rows = rows + part * features.shape[1]
            features = features.reshape(-1, features.shape[2])
        rows, examples, valid = (np.ascontiguousarray(array.swapaxes(0, 1)) for array in (rows, examples, given))
        return cls(features, rows, examples, valid, standardizer)

    def twice(self) -> StackedData:
        """Return the data with each batch repeated: (τ, A, 2b)."""
        rows, labels, valid = (np.concatenate([array] * 2, axis=2) for array in (self.rows, self.labels, self.valid))
        return StackedData(self.table, rows, labels, valid, self.standardizer)


class BatchReader:
    """Reads features, of one step at a time into one buffer, or of all steps at once."""

    def __init__(self, ops: ArrayOps, data: StackedData) -> None:
        self._ops, self._table = ops, ops.table(data.table)
        self._rows = ops.from_host(data.rows)
        self._batch: Any = None
        self._standardizer = None
        if data.standardizer is not None:
            mean, inverse_std = data.standardizer.mean, data.standardizer.inverse_std
            self._standardizer = ops.from_host(mean), ops.from_host(inverse_std)

    def read(self, step: int) -> Any:
        """Return a step's features, (A, b, F), in a buffer that the next step overwrites."""
        if self._batch is None:
            self._batch = self._ops.empty((*self._rows.shape[1:], self._table.shape[1]))
        return self._read(self._rows[step], self._batch)

    def read_all(self, out: Any) -> None:
        """Write the features of all steps to ``out`` (A, τ b, F)."""
        steps, stack, batch = self._rows.shape
        self._read(self._rows.swapaxes(0, 1).reshape(stack, steps * batch), out)

    def _read(self, rows: Any, out: Any) -> Any:
        self._ops.gather(self._table, rows, out)
        if self._standardizer is not None:
            mean, inverse_std = self._standardizer
            self._ops.xp.subtract(out, mean, out=out)
            self._ops.xp.multiply(out, inverse_std, out=out)
        return out
