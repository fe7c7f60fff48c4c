"""A stack of jobs of one shape: what a learner is given, and what it returns.

Symbols: A jobs in the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.absent_classes import AbsentClasses
from fl_sparse.learn.descent import OptimizerState, moment_names
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.ordered_dropout import OrderedDropout
from fl_sparse.learn.stacked_data import Batches

HOST_BYTES = 2**30
"""Bytes that the trained weights of one stack may take in the host's memory."""


@dataclass(frozen=True)
class Stack:
    """Positions of the jobs that are trained at once, ascending, and names of the weights trained by factors."""

    positions: list[int]
    factored: tuple[str, ...] = ()


@dataclass(frozen=True)
class StackInput:
    """A parts of one shape and their training data; each part is trained on its own batches, independently.

    Parameters
    ----------
    parameters
        Name -> (A, ...), or a sequence of A arrays, which saves the caller a copy. Not changed.
    scales
        One factor c a layer, output included (`fl_sparse.model.mlp.layer_scales`): a float, or (A,) floats.
    data
        Features, labels and the rows of each step.
    optimizer
        The optimiser.
    ordered
        Which units take part in each step; None means all. Not with LayerNorm.
    absent
        Which classes' logits take no part in the loss; None means that all take part.
    state
        The state that optimisers go on from; fresh if None.
    keep_state
        Whether to return the optimisers' state after the last step.
    shared
        Name -> weights (H', H) that all parts start from; not in ``parameters``. The stacked MLP trains them by their
        factors. With SGD only, and without ``ordered``, ``state`` or ``keep_state``.

    Raises
    ------
    ValueError
        If weights are shared and a setting needs copies of them.
    """

    parameters: Mapping[str, Any] = field(repr=False)
    scales: Sequence[Any]
    data: Batches
    optimizer: OptimizerSpec
    ordered: OrderedDropout | None = None
    absent: AbsentClasses | None = None
    state: OptimizerState | None = None
    keep_state: bool = False
    shared: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        carries = self.ordered is not None or self.state is not None or self.keep_state
        if self.shared and (self.optimizer.name != "sgd" or carries):
            raise ValueError("factored weights go with fresh SGD only, and without ordered dropout")

    @property
    def size(self) -> int:
        """A."""
        return len(self.data.rows)

    def piece(self, some: slice, values: Mapping[str, NDArray[np.float32]]) -> StackInput:
        """Return some of the stack's parts; ``values``, given for all parts, replace the parameters."""
        return replace(
            self,
            parameters={name: array[some] for name, array in values.items()},
            scales=[scale if np.ndim(scale) == 0 else scale[some] for scale in self.scales],
            data=self.data.piece(some),
            ordered=None if self.ordered is None else self.ordered.piece(some),
            absent=None if self.absent is None else self.absent.piece(some),
        )

    def moments(self, trained: Mapping[str, NDArray[np.float32]], ops: ArrayOps) -> dict[str, dict[str, Any]]:
        """Return a copy of the state's moments: zero if it is fresh, without parameters if none are returned."""
        moments: dict[str, dict[str, Any]] = {moment: {} for moment in moment_names(self.optimizer)}
        if self.keep_state or self.state is not None:
            for moment, held in moments.items():
                for name, values in trained.items():
                    kept = None if self.state is None else self.state.moments[moment][name]
                    held[name] = np.zeros_like(values) if kept is None else ops.stack(kept)
        return moments

    @property
    def steps_taken(self) -> NDArray[np.int64]:
        """Steps that the optimisers took before, int64 (A,)."""
        return np.zeros(self.size, dtype=np.int64) if self.state is None else self.state.steps


@dataclass(frozen=True)
class StackResult:
    """A trained stack.

    Parameters
    ----------
    parameters
        Name -> float32 (A, ...), NumPy; untrained parameters are unchanged. A shared weight is a list of A factored
        weights.
    loss
        float64 (A,): the mean over a part's steps of the mean cross-entropy of the step's batch, before the step and
        without the proximal term. Steps without examples do not count; if all are, the loss is 0.
    optimizer_state
        The optimisers' state after the last step, if it was asked for.
    """

    parameters: Mapping[str, Any] = field(repr=False)
    loss: NDArray[np.float64]
    optimizer_state: OptimizerState | None = field(default=None, repr=False)


TrainPiece = Callable[[StackInput, OptimizerState], NDArray[np.float64]]
"""Trains some of a stack's parts and their optimisers' state in place → each part's loss, float64 (A,)."""


def train_in_pieces(
    stack: StackInput, names: Sequence[str], size: int, ops: ArrayOps, train: TrainPiece
) -> StackResult:
    """Train a stack, ``size`` parts at a time; ``names`` are the trained parameters."""
    values = {name: ops.stack(given) for name, given in stack.parameters.items()}
    moments = stack.moments({name: values[name] for name in names}, ops)
    loss = np.zeros(stack.size)
    for start in range(0, stack.size, size):
        some = slice(start, min(start + size, stack.size))
        state = OptimizerState(
            stack.steps_taken[some],
            {moment: {name: array[some] for name, array in held.items()} for moment, held in moments.items()},
        )
        loss[some] = train(stack.piece(some, values), state)
    after = OptimizerState(stack.steps_taken + stack.data.steps, moments) if stack.keep_state else None
    return StackResult(values, loss, after)


def part_bytes(stack: StackInput) -> int:
    """Return the bytes of one part's own values."""
    return sum(values[0].nbytes for values in stack.parameters.values())


def part_size(held_bytes: int, optimizer: OptimizerSpec, ops: ArrayOps, factors: int = 0) -> int:
    """Return how many parts can be trained at a time, so that their weights, gradients, moments and factors fit.

    The number depends on shapes, optimiser and machine, not on free memory: the division of a cohort decides the last
    bits of its results.
    """
    trained_bytes = held_bytes * (2 + len(moment_names(optimizer))) + factors
    return max(1, min(ops.stack_bytes // trained_bytes, HOST_BYTES // (held_bytes + factors)))


def in_pieces(positions: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yield positions, ``size`` at a time."""
    return (positions[start : start + size] for start in range(0, len(positions), size))
