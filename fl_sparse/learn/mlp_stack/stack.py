"""Local training: τ steps of a stack of equal-shaped subnets.

Symbols: A subnets in the stack, τ steps, b examples of a batch, n rows of a table of features, F features, C classes.

A device trains a stack of one, the in-process grid a whole cohort: the same function, on NumPy or torch. Each layer
of all subnets is one batched matrix product, the pass backward is written out, and everything is updated in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.absent_classes import AbsentClasses, LogitMask
from fl_sparse.learn.array_ops import ArrayOps
from fl_sparse.learn.cross_entropy import CrossEntropy
from fl_sparse.learn.descent import GradientDescent, OptimizerState, PlainDescent, moment_names
from fl_sparse.learn.mlp_stack.factored_layer import FactoredLayer
from fl_sparse.learn.mlp_stack.network import StackedMLP
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.ordered_dropout import OrderedDropout, SelfDistillation
from fl_sparse.learn.stacked_data import BatchReader, StackedData
from fl_sparse.model.mlp import SKIP_NAMES, MLPSpec
from fl_sparse.part.factored import FactoredWeight

Moments = dict[str, dict[str, NDArray[np.float32]]]

HOST_BYTES = 2**30
"""Trained weights that one part of a cohort may take in the host's memory."""


@dataclass(frozen=True)
class TrainResult:
    """A trained stack.

    Parameters
    ----------
    parameters
        Name -> float32 (A, ...), NumPy, the skip term's included, as it came; of weights in ``shared`` a list of A
        factored ones.
    loss
        float64 (A,): the mean over a subnet's steps of the mean cross-entropy of the step's batch, before the step;
        steps without examples do not count, and without any the loss is 0. The proximal term is not in it.
    optimizer_state
        Where the optimiser stands, if it was asked for.
    """

    parameters: dict[str, NDArray[np.float32] | list[FactoredWeight]] = field(repr=False)
    loss: NDArray[np.float64]
    optimizer_state: OptimizerState | None = field(default=None, repr=False)


def train_stack(
    parameters: Mapping[str, Any],
    scales: Sequence[Any],
    features: Any,
    labels: NDArray[np.int64],
    batches: NDArray[np.int64],
    *,
    optimizer: OptimizerSpec,
    spec: MLPSpec,
    ops: ArrayOps,
    standardizer: Standardizer | None = None,
    ordered: OrderedDropout | None = None,
    absent: AbsentClasses | None = None,
    state: OptimizerState | None = None,
    keep_state: bool = False,
    shared: Mapping[str, NDArray[np.float32]] | None = None,
) -> TrainResult:
    """Train A subnets of one shape, each on its own batches, independently of one another.

    Parameters
    ----------
    parameters
        Name -> (A, ...), or a sequence of A arrays, which saves the caller a copy. Not changed.
    scales
        One factor c a layer, output included (`fl_sparse.part.subnet_scales`): a float, or (A,) floats.
    features
        float32 (n, F), a table that all subnets gather from, or (A, n, F), one each. NumPy (memory-mapped or not), or a
        tensor on the ops's device.
    labels
        int64 (n,), or (A, n).
    batches
        int64 (A, τ, b): the rows of each step; -1 pads short batches. A step that is padding throughout moves neither
        the subnet's weights nor its optimiser.
    optimizer
        What a step does.
    spec
        The subnets' shape.
    ops
        NumPy or torch.
    standardizer
        Applied to each batch as it is gathered, if given.
    ordered
        Which units take part in each step; None means all. Not with LayerNorm.
    absent
        Which classes' logits take no part in the loss; None means that all take part.
    state
        Where the optimisers continue; fresh if None.
    keep_state
        Whether to return where they stop.
    shared
        Weights that all subnets start from, name -> (H', H), and that ``parameters`` lacks: they are trained by their
        factors. With SGD only, and without ``ordered``, ``state`` or ``keep_state``.

    Returns
    -------
    TrainResult
        In NumPy arrays. The same call with the same number of threads gives the same bits. Another stacking of the same
        subnets, or the other ops, differs by the rounding of the matrix products.
    """
    if ordered is not None and spec.normalization != "none":
        raise ValueError("ordered dropout goes with normalization 'none' only")
    shared = shared or {}
    if shared and (optimizer.name != "sgd" or ordered is not None or state is not None or keep_state):
        raise ValueError("factored weights go with fresh SGD only, and without ordered dropout")
    if not shared.keys().isdisjoint(SKIP_NAMES):
        raise ValueError("the skip term is not trained; expected it among the parameters")
    stack = len(batches)
    trained = {name: ops.stack(values) for name, values in parameters.items()}
    names = [name for name in trained if name not in SKIP_NAMES]
    moments: Moments = {moment: {} for moment in moment_names(optimizer)}
    if keep_state or state is not None:
        for moment, held in moments.items():
            held.update({name: _start(state, moment, name, trained[name], ops) for name in names})
    taken = np.zeros(stack, dtype=np.int64) if state is None else state.steps
    valid = batches >= 0
    loss = np.zeros(stack)
    rows = batches.shape[1] * batches.shape[2]
    part = part_size(
        sum(values[0].nbytes for values in trained.values()), optimizer, ops, factor_bytes(shared.values(), rows)
    )
    factored: dict[str, list[FactoredWeight]] = {name: [] for name in shared}
    for start in range(0, stack, part):
        some = slice(start, min(start + part, stack))
        with ops.forward_only():
            loss[some] = _train_part(
                {name: values[some] for name, values in trained.items()},
                {moment: {name: values[some] for name, values in held.items()} for moment, held in moments.items()},
                StackedData.of(
                    features[some] if features.ndim == 3 else features,
                    labels[some] if labels.ndim == 2 else labels,
                    batches[some],
                    standardizer,
                ),
                [scale if np.ndim(scale) == 0 else scale[some] for scale in scales],
                taken[some],
                None if ordered is None else ordered.part(some),
                None if absent is None else absent.part(some),
                shared,
                factored,
                optimizer=optimizer,
                spec=spec,
                ops=ops,
            )
    after = OptimizerState(taken + valid.any(axis=2).sum(axis=1), moments) if keep_state else None
    return TrainResult(trained | factored, loss, after)


def _start(
    state: OptimizerState | None, moment: str, name: str, like: NDArray[np.float32], ops: ArrayOps
) -> NDArray[np.float32]:
    return np.zeros_like(like) if state is None else ops.stack(state.moments[moment][name])


def part_size(subnet_bytes: int, optimizer: OptimizerSpec, ops: ArrayOps, factors: int = 0) -> int:
    """Return how many subnets are trained at a time: so many that their weights, gradients, moments and factors fit.

    A function of shapes, optimiser and machine, not of what memory is free: how a cohort is divided decides the last
    bits of its results.
    """
    trained_bytes = subnet_bytes * (2 + len(moment_names(optimizer))) + factors
    return max(1, min(ops.stack_bytes // trained_bytes, HOST_BYTES // (subnet_bytes + factors)))


def factor_bytes(shared: Iterable[NDArray[np.float32]], rows: int) -> int:
    """Return the bytes of one subnet's factors of so many rows."""
    return sum(rows * sum(values.shape) * values.itemsize for values in shared)


def _train_part(
    trained: Mapping[str, NDArray[np.float32]],
    moments: Moments,
    data: StackedData,
    scales: Sequence[Any],
    taken: NDArray[np.int64],
    ordered: OrderedDropout | None,
    absent: AbsentClasses | None,
    shared: Mapping[str, NDArray[np.float32]],
    factored: Mapping[str, list[FactoredWeight]],
    *,
    optimizer: OptimizerSpec,
    spec: MLPSpec,
    ops: ArrayOps,
) -> NDArray[np.float64]:
    """Train a stack in place, and add what it makes of shared weights; return each subnet's loss, float64 (A,)."""
    arrays = {name: ops.from_host(values) for name, values in trained.items()}
    stepped = {name: values for name, values in arrays.items() if name not in SKIP_NAMES}
    active: NDArray[np.bool_] = np.asarray(data.valid.any(axis=2))
    descent: PlainDescent | GradientDescent
    moving = list(stepped.values())
    returned = [(arrays[name], trained[name]) for name in stepped]
    if optimizer.name == "sgd" and not optimizer.momentum and not optimizer.proximal:
        descent = PlainDescent(ops, optimizer, stepped)
    else:
        held = {
            moment: {name: ops.from_host(kept[name]) if kept else ops.zeros_like(stepped[name]) for name in stepped}
            for moment, kept in moments.items()
        }
        moving += [values for moment in held.values() for values in moment.values()]
        returned += [(held[moment][name], kept[name]) for moment, kept in moments.items() for name in kept]
        descent = GradientDescent(ops, optimizer, stepped, held, taken + np.cumsum(active, axis=0))
    masks = [] if ordered is None else ordered.masks(ops, spec)
    whole_rows = 0
    objective_kind: type[CrossEntropy | SelfDistillation] = CrossEntropy
    if ordered is not None and ordered.self_distillation:
        whole_rows, objective_kind, data = data.valid.shape[2], SelfDistillation, data.twice()
    width = data.valid.shape[2]
    layers = {name: FactoredLayer(ops, start, width, optimizer, active) for name, start in shared.items()}
    network = StackedMLP(ops, spec, arrays, scales, width, layers)
    objective = objective_kind(ops, data.labels, data.valid, spec.num_classes)
    mask = None if absent is None else LogitMask(ops, absent)
    reader = BatchReader(ops, data)
    read = reader.read
    first = layers.get("hidden.0.weight" if spec.hidden_widths else "output.weight")
    if first is not None and not network.scales_input:
        reader.read_all(first.inputs)
        first.multiply_ahead()
        read = first.input
    waiting: list[bool] = np.asarray(~active.all(axis=1)).tolist()
    for step, some_wait in enumerate(waiting):
        still = _Still(ops, active[step], moving) if some_wait else None
        logits = network.forward(read(step), [layer[step] for layer in masks] or None, whole_rows)
        if mask is None:
            gradient = objective.gradient(logits, step)
        else:
            gradient = mask.still(objective.gradient(mask.cover(logits), step))
        network.backward(gradient, descent)
        descent.finish(step)
        if still is not None:
            still.restore()
    for array, host in returned:
        ops.copy_to_host(array, host)
    for name, layer in layers.items():
        factored[name].extend(layer.trained())
    losses = ops.to_host(objective.losses()).astype(np.float64)
    means: NDArray[np.float64] = (losses * active).sum(axis=0) / np.maximum(active.sum(axis=0), 1)
    return means


class _Still:
    """What subnets without examples in a step hold before it, to be put back after it."""

    def __init__(self, ops: ArrayOps, moves: NDArray[np.bool_], arrays: Sequence[Any]) -> None:
        index = ops.from_host(np.flatnonzero(~moves))
        self._saved = [(array, index, array[index]) for array in arrays]

    def restore(self) -> None:
        """Put it back."""
        for array, index, values in self._saved:
            array[index] = values
