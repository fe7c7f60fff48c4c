"""A trained weight matrix, stored as the matrix before training and the factors of its change.

Symbols: W (H', H) a matrix as a client received it; m examples that it trained on, counted in every step; G (m, H')
gradients of the layer's output, times their factor in the change; X (m, H) inputs of the layer. The trained matrix is
W + Gᵀ X.

A step of gradient descent changes a matrix by a sum of outer products over the batch's examples: gradient of the
layer's output times input of the layer. While m (H' + H) < H' H, the factors are smaller than the matrix. A sum over
clients that started from the same W is then one product of all their rows, W Σ_k w_k + [w_k G_k]ᵀ [X_k]. A client's own
matrix is made in two cases only: for the mean over clients whose units overlap in part or who count for some classes
only, and when somebody reads the array in Flower's message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps

SUM_ROWS = 1024
"""Rows that are multiplied at once: enough for a matrix product at full speed."""
CERTAINLY_FINITE = 1e30
"""A change below this makes no weight infinite, unless the weight is within 1e30 of float32's largest, 3.4e38."""


@dataclass(frozen=True, eq=False)
class FactoredWeight:
    """W + Gᵀ X of one client; ``numpy.asarray`` multiplies it out, float32 (H', H).

    Parameters
    ----------
    received
        W, float32 (H', H), NumPy; shared by all clients that received it, so do not change it.
    gradients, inputs
        G and X, float32, arrays of ``ops``.
    ops
        NumPy or torch.
    bound
        ‖G‖ ‖X‖, in Frobenius' norm: no value of Gᵀ X is larger. Not finite if a factor is not.
    """

    received: NDArray[np.float32] = field(repr=False)
    gradients: Any = field(repr=False)
    inputs: Any = field(repr=False)
    ops: ArrayOps = field(repr=False)
    bound: float

    @property
    def shape(self) -> tuple[int, ...]:
        """(H', H)."""
        return self.received.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """float32."""
        return self.received.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the factors."""
        return int(self.gradients.nbytes + self.inputs.nbytes)

    def finite(self) -> bool:
        """Tell whether all weights are finite: by the bound or, if it is too large, by multiplying out."""
        if self.bound < CERTAINLY_FINITE:
            return True
        with np.errstate(all="ignore"):
            return bool(np.isfinite(np.asarray(self)).all())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the trained matrix, multiplied out as the mean of one client."""
        alone = FactoredSum(self.received, self.ops)
        alone.add(self, 1.0)
        return alone.mean().astype(dtype or np.float32, copy=False)


class FactoredSum:
    """The weighted sum and mean of weights whose clients received the same matrix.

    Clients' rows are gathered and multiplied `SUM_ROWS` or a few more at a time. The same clients in the same order
    give the same bits, however they are divided over calls.

    Parameters
    ----------
    received
        W.
    ops
        The factors' kind of arrays.
    """

    def __init__(self, received: NDArray[np.float32], ops: ArrayOps) -> None:
        self.received = received
        self._ops = ops
        self._gradients: list[Any] = []
        self._inputs: list[Any] = []
        self._shares: list[tuple[float, int]] = []
        self._rows = 0
        self._change: Any = None
        # The first client's weight is the unit: if all weights are equal, nothing is multiplied or rounded.
        self._unit = 1.0
        self._weight = 0.0

    def add(self, values: FactoredWeight, weight: float) -> None:
        """Add a client's weights, times w_k > 0."""
        if not self._weight:
            self._unit = weight
        share = weight / self._unit
        self._weight += share
        self._gradients.append(values.gradients)
        self._inputs.append(values.inputs)
        self._shares.append((share, len(values.inputs)))
        self._rows += len(values.inputs)
        if self._rows >= SUM_ROWS:
            self._multiply()

    def mean(self) -> NDArray[np.float32]:
        """Return the weighted mean, float32 (H', H); of a single client, its matrix."""
        ops = self._ops
        mean = ops.xp.divide(self._changes(), self._weight)
        received = ops.from_host(self.received)
        return ops.to_host(ops.xp.add(mean, received, out=mean))

    def total(self) -> NDArray[np.float64]:
        """Return the weighted sum, float64 (H', H)."""
        changes: NDArray[np.float32] = self._ops.to_host(self._changes())
        return self._unit * (self.received * np.float64(self._weight) + changes)

    def _changes(self) -> Any:
        """Return the sum of the changes, in units of the first client's weight."""
        if self._gradients:
            self._multiply()
        return self._change

    def settle(self) -> None:
        """Copy the waiting rows: they are views, which would hold whole stacks in memory."""
        if self._gradients:
            self._gradients, self._inputs = ([rows] for rows in self._waiting(self._ops.joined))
            self._shares = [(1.0, self._rows)]

    def _waiting(self, join: Callable[[Sequence[Any]], Any]) -> tuple[Any, Any]:
        """Return the waiting gradients, times their clients' shares, and the waiting inputs, each as one matrix."""
        inputs = join(self._inputs)
        if all(share == 1.0 for share, _ in self._shares):
            return join(self._gradients), inputs
        gradients = self._ops.joined(self._gradients)
        shares, rows = zip(*self._shares, strict=True)
        by_row = np.repeat(np.array(shares, dtype=np.float32), rows)[:, None]
        return self._ops.xp.multiply(gradients, self._ops.from_host(by_row), out=gradients), inputs

    def _multiply(self) -> None:
        gradients, inputs = self._waiting(self._ops.rows_of)
        if self._change is None:
            self._change = self._ops.xp.matmul(gradients.T, inputs)
        else:
            self._ops.add_product(self._change, gradients.T, inputs)
        self._gradients, self._inputs, self._shares, self._rows = [], [], [], 0
