"""What the steps of every learner share: the batches that they read, the units that take part, and the loss.

Symbols: A parts in the stack, τ steps, b rows of a batch, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.absent_classes import LogitMask
from fl_sparse.learn.cross_entropy import CrossEntropy
from fl_sparse.learn.ordered_dropout import SelfDistillation
from fl_sparse.learn.stack import StackInput
from fl_sparse.learn.stacked_data import BatchReader, StackedData


class Passes:
    """The passes of a stack, but for the network itself.

    Parameters
    ----------
    ops
        The arrays' kind.
    stack
        What is trained.
    sizes
        H_l of each shared axis.
    num_classes
        C.

    Attributes
    ----------
    active
        bool (τ, A): which parts have examples in a step.
    width
        Rows of a batch; with self-distillation each batch comes twice.
    whole_rows
        The first rows of a batch for which all units take part.
    reader
        Reads the batches.
    """

    def __init__(self, ops: ArrayOps, stack: StackInput, sizes: Iterable[int], num_classes: int) -> None:
        data, ordered = StackedData.of(stack.data), stack.ordered
        self.active: NDArray[np.bool_] = np.asarray(data.valid.any(axis=2))
        self._ops, self.whole_rows = ops, 0
        self._masks = [] if ordered is None else ordered.masks(ops, sizes)
        objective: type[CrossEntropy | SelfDistillation] = CrossEntropy
        if ordered is not None and ordered.self_distillation:
            self.whole_rows, objective, data = data.valid.shape[2], SelfDistillation, data.twice()
        self.width: int = data.valid.shape[2]
        self._objective = objective(ops, data.labels, data.valid, num_classes)
        self._absent = None if stack.absent is None else LogitMask(ops, stack.absent)
        self.reader = BatchReader(ops, data)

    def present(self, step: int) -> list[Any] | None:
        """Return a mask for each shared axis, float32 (A, 1, H_l), of the units that take part; None means all."""
        return [mask[step] for mask in self._masks] or None

    def gradient(self, logits: Any, step: int) -> Any:
        """Return the gradient of the step's losses, (A, b, C), and note the losses; the logits are overwritten."""
        if self._absent is None:
            return self._objective.gradient(logits, step)
        return self._absent.still(self._objective.gradient(self._absent.cover(logits), step))

    def losses(self) -> NDArray[np.float64]:
        """Return each part's mean loss over its steps with examples, float64 (A,); 0 without any."""
        noted = self._ops.to_host(self._objective.losses()).astype(np.float64)
        # Without an example of any class, a loss is not a number.
        total = np.where(self.active, noted, 0).sum(axis=0)
        mean: NDArray[np.float64] = total / np.maximum(self.active.sum(axis=0), 1)
        return mean
