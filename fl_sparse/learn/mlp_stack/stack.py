"""Local training: τ steps of a stack of equal-shaped MLPs.

Symbols: A parts in the stack, τ steps, b examples of a batch, n rows of a table of features, F features, C classes.

A device trains a stack of one, the in-process grid a cohort's stacks, by the same function on NumPy or torch. Each
layer of all parts is one batched matrix product, the pass backward is written out, and all updates are in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.descent import OptimizerState, Steps
from fl_sparse.learn.mlp_stack.factored_layer import FactoredLayer
from fl_sparse.learn.mlp_stack.network import StackedMLP
from fl_sparse.learn.passes import Passes
from fl_sparse.learn.stack import StackInput, StackResult, part_bytes, part_size, train_in_pieces
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.part.factored import FactoredWeight


def train_stack(spec: MLPSpec, stack: StackInput, ops: ArrayOps) -> StackResult:
    """Train a stack of MLPs.

    Parameters
    ----------
    spec
        The MLPs' shape.
    stack
        Parameters, data and optimiser.
    ops
        NumPy or torch.

    Returns
    -------
    StackResult
        In NumPy arrays. The same call with the same number of threads gives the same bits. Another stacking of the same
        parts, or another kind of arrays, differs by the rounding of the matrix products.
    """
    if stack.ordered is not None and spec.normalization != "none":
        raise ValueError("ordered dropout goes with normalization 'none' only")
    model = spec.model
    if not all(model[name].trained for name in stack.shared):
        raise ValueError("the skip term is not trained; expected it among the parameters")
    rows = stack.data.rows.shape[1] * stack.data.rows.shape[2]
    size = part_size(part_bytes(stack), stack.optimizer, ops, factor_bytes(stack.shared.values(), rows))
    factored: dict[str, list[FactoredWeight]] = {name: [] for name in stack.shared}
    names = [name for name in stack.parameters if model[name].trained]

    def train(piece: StackInput, state: OptimizerState) -> NDArray[np.float64]:
        with ops.forward_only():
            return _train_piece(spec, piece, state, names, factored, ops)

    result = train_in_pieces(stack, names, size, ops, train)
    return replace(result, parameters={**result.parameters, **factored})


def factor_bytes(shared: Iterable[NDArray[np.float32]], rows: int) -> int:
    """Return the bytes of one part's factors of so many rows."""
    return sum(rows * sum(values.shape) * values.itemsize for values in shared)


def _train_piece(
    spec: MLPSpec,
    piece: StackInput,
    state: OptimizerState,
    names: list[str],
    factored: Mapping[str, list[FactoredWeight]],
    ops: ArrayOps,
) -> NDArray[np.float64]:
    """Train a stack in place, append trained shared weights to ``factored``; return each part's loss, float64 (A,)."""
    arrays = {name: ops.from_host(values) for name, values in piece.parameters.items()}
    stepped = {name: arrays[name] for name in names}
    passes = Passes(ops, piece, spec.hidden_widths, spec.num_classes)
    steps = Steps(ops, piece.optimizer, stepped, state, passes.active)
    layers = {
        name: FactoredLayer(ops, start, passes.width, piece.optimizer, passes.active)
        for name, start in piece.shared.items()
    }
    network = StackedMLP(ops, spec, arrays, piece.scales, passes.width, layers)
    read = passes.reader.read
    first = layers.get(spec.layers[0].weight)
    if first is not None and not network.scales_input:
        passes.reader.read_all(first.inputs)
        first.multiply_ahead()
        read = first.input
    for step in range(len(passes.active)):
        steps.begin(step)
        logits = network.forward(read(step), passes.present(step), passes.whole_rows)
        network.backward(passes.gradient(logits, step), steps.descent)
        steps.finish(step)
    for name, array in stepped.items():
        ops.copy_to_host(array, piece.parameters[name])
    steps.return_moments()
    for name, layer in layers.items():
        factored[name].extend(layer.trained())
    return passes.losses()
