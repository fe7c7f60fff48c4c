"""A trained weight matrix as the matrix before training and the factors of its change, not multiplied out.

Symbols: W (H', H) a matrix as a client received it, m examples that it trained on, counted in every step, G (m, H')
gradients of the layer's output times their part in the change, X (m, H) inputs of the layer: the trained matrix is
W + Gᵀ X.

A step of gradient descent changes a matrix by the sum, over the examples of its batch, of an outer product: gradient of
the layer's output times input of the layer. While m (H' + H) < H' H the factors are smaller than the matrix, and a sum
over clients that started from the same W is one product of all their rows, W Σ_k w_k + [w_k G_k]ᵀ [X_k]: no client's
matrix is made, unless somebody asks for it. Those who ask are the mean over clients whose units overlap in part, or who
count for some classes only, and whoever reads the array in Flower's message.
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
"""A change below this takes no finite float32 weight to infinity that is not within 1e30 of the largest, 3.4e38."""


@dataclass(frozen=True, eq=False)
class FactoredWeight:
    """W + Gᵀ X of one client; ``numpy.asarray`` multiplies it out, float32 (H', H).

    Parameters
    ----------
    received
        W, float32 (H', H), NumPy; shared with all who received it, and not to be changed.
    gradients, inputs
        G and X, float32, arrays of its kind.
    ops
        NumPy or torch.
    bound
        No value of Gᵀ X is larger: ‖G‖ ‖X‖, in Frobenius' norm; not finite if a factor is not.
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
        """Tell whether all weights are finite: by the bound, or where it leaves a doubt by looking."""
        if self.bound < CERTAINLY_FINITE:
            return True
        with np.errstate(all="ignore"):
            return bool(np.isfinite(np.asarray(self)).all())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Multiply it out, as the mean of one client."""
        alone = FactoredSum(self.received, self.ops)
        alone.add(self, 1.0)
        return alone.mean().astype(dtype or np.float32, copy=False)


class FactoredSum:
    """The weighted sum and mean of weights whose clients received the same matrix.

    Rows are gathered over clients and multiplied `SUM_ROWS` or a few more at a time, whoever calls how often: the same
    clients in the same order give the same bits.

    Parameters
    ----------
    received
        W.
    ops
        That of the factors.
    """

    def __init__(self, received: NDArray[np.float32], ops: ArrayOps) -> None:
        self.received = received
        self._ops = ops
        self._gradients: list[Any] = []
        self._inputs: list[Any] = []
        self._shares: list[tuple[float, int]] = []
        self._rows = 0
        self._change: Any = None
        # The first client's weight is the unit: where all have an equal say, nothing is multiplied or rounded.
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
        """Return the weighted mean, float32 (H', H); a single client's is its matrix, whatever its weight."""
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
        """Copy the rows that wait to be multiplied, which are parts of whole stacks that they would keep in memory."""
        if self._gradients:
            self._gradients, self._inputs = ([rows] for rows in self._waiting(self._ops.joined))
            self._shares = [(1.0, self._rows)]

    def _waiting(self, join: Callable[[Sequence[Any]], Any]) -> tuple[Any, Any]:
        """Return the waiting gradients, times their clients' shares, and inputs, each joined to one matrix."""
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
