"""Ordered dropout: each step trains a prefix of every hidden layer's units.

Symbols: A parts in the stack, τ steps, L hidden layers, b rows of a batch, H_l units of hidden layer l, C classes.

References
----------
S. Horváth et al., FjORD, NeurIPS 2021, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.cross_entropy import CrossEntropy


@dataclass(frozen=True)
class OrderedDropout:
    """Which units take part in the steps of a stack.

    Parameters
    ----------
    widths
        int64 (A, τ, L): how many first units of each hidden layer take part. The gradients of the other units'
        parameters are zero. Not with LayerNorm, which would count the other units.
    self_distillation
        Whether a step sees its batch twice: the whole part learns from the labels, the prefix from the whole part's
        probabilities. The loss is CE(whole, y) + KL(whole ‖ prefix), temperature 1; KL takes ``whole`` as constant.
    """

    widths: NDArray[np.int64] = field(repr=False)
    self_distillation: bool = False

    def piece(self, some: slice) -> OrderedDropout:
        """Return the widths of some of the stack's parts."""
        return OrderedDropout(self.widths[some], self.self_distillation)

    def masks(self, ops: ArrayOps, sizes: Iterable[int]) -> list[Any]:
        """Return each layer's masks, float32 (τ, A, 1, H_l): 1 where a unit takes part; ``sizes`` are the H_l."""
        first = self.widths.swapaxes(0, 1)[..., None, None]
        return [
            ops.from_host((np.arange(units) < first[:, :, layer]).astype(np.float32))
            for layer, units in enumerate(sizes)
        ]


class SelfDistillation:
    """The gradient of CE(whole, y) + KL(whole ‖ prefix), for batches whose second half repeats the first.

    Parameters
    ----------
    ops
        The arrays' kind.
    labels
        int64 (τ, A, 2b).
    valid
        bool (τ, A, 2b).
    num_classes
        C.
    """

    def __init__(self, ops: ArrayOps, labels: NDArray[np.int64], valid: NDArray[np.bool_], num_classes: int) -> None:
        self._xp = ops.xp
        _, stack, rows = labels.shape
        self._half = rows // 2
        labels = np.ascontiguousarray(labels[:, :, : self._half])
        valid = np.ascontiguousarray(valid[:, :, : self._half])
        self._whole = CrossEntropy(ops, labels, valid, num_classes)
        shares = valid / np.maximum(valid.sum(axis=2, keepdims=True), 1)
        self._shares = ops.from_host(shares.astype(np.float32)[..., None])
        self._teacher = ops.empty((stack, self._half, num_classes))
        self._gradient = ops.empty((stack, rows, num_classes))
        self._reduced = ops.empty((stack, self._half, 1))

    def gradient(self, logits: Any, step: int) -> Any:
        """Return the gradient of the step's losses, (A, 2b, C); the logits are overwritten."""
        xp, half, teacher = self._xp, self._half, self._teacher
        student = self._gradient[:, half:]
        self._softmax(logits[:, :half], teacher)
        self._softmax(logits[:, half:], student)
        xp.subtract(student, teacher, out=student)
        xp.multiply(student, self._shares[step], out=student)
        self._gradient[:, :half] = self._whole.gradient(logits[:, :half], step)
        return self._gradient

    def losses(self) -> Any:
        """Return the recorded cross-entropies of the whole part, (τ, A)."""
        return self._whole.losses()

    def _softmax(self, logits: Any, out: Any) -> None:
        xp, reduced = self._xp, self._reduced
        xp.amax(logits, axis=-1, keepdims=True, out=reduced)
        xp.subtract(logits, reduced, out=out)
        xp.exp(out, out=out)
        xp.sum(out, axis=-1, keepdims=True, out=reduced)
        xp.divide(out, reduced, out=out)
