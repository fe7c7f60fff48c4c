"""Cross-entropy of a stack of batches, with the gradient of the logits.

Symbols: A parts in the stack, τ steps, b rows of a batch, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.errors import InputError


class CrossEntropy:
    """The mean cross-entropy over the examples of each part's batch; padding does not count.

    Parameters
    ----------
    ops
        The arrays' kind.
    labels
        int64 (τ, A, b), the labels of every step; any class where padded.
    valid
        bool (τ, A, b): True where there is an example.
    num_classes
        C.

    Raises
    ------
    InputError
        For a label that is not from 0 to C − 1.
    """

    def __init__(self, ops: ArrayOps, labels: NDArray[np.int64], valid: NDArray[np.bool_], num_classes: int) -> None:
        self._xp = ops.xp
        wrong = (labels < 0) | (labels >= num_classes)
        if wrong.any():
            raise InputError(f"label {labels[wrong][0]} of a training example: expected 0 to {num_classes - 1}")
        steps, stack, batch = labels.shape
        positions = np.arange(stack * batch, dtype=np.int64) * num_classes + labels.reshape(steps, -1)
        shares = valid / np.maximum(valid.sum(axis=2, keepdims=True), 1)
        self._ops = ops
        self._positions = ops.from_host(positions)
        self._shares = ops.from_host(shares.astype(np.float32)[..., None])
        self._probabilities = ops.empty((stack, batch, num_classes))
        self._chosen = ops.empty((steps, stack * batch))

    def gradient(self, logits: Any, step: int) -> Any:
        """Return the gradient of the step's losses, (A, b, C), and record the losses; overwrites the logits."""
        xp, positions, probabilities = self._xp, self._positions[step], self._probabilities
        logarithms = self._ops.log_softmax(logits)
        xp.take(logarithms, positions, out=self._chosen[step])
        xp.exp(logarithms, out=probabilities)
        self._ops.add_at(probabilities.reshape(-1), positions, -1.0)
        return xp.multiply(probabilities, self._shares[step], out=probabilities)

    def losses(self) -> Any:
        """Return the recorded losses, (τ, A)."""
        shares = self._shares[..., 0]
        return -self._xp.sum(self._chosen.reshape(shares.shape) * shares, axis=2)
