"""Local training under autograd: τ steps of a stack of equal-shaped networks, with one pass backward a step for all.

Symbols: A parts in the stack, τ steps, b rows of a batch, C classes.

The loss is the sum of the parts' losses, so each part's gradient is that of its own loss. The gradient of the logits is
written out, by the modules that the stacked MLP uses too (`fl_sparse.learn.cross_entropy`, `absent_classes`,
`ordered_dropout`). Autograd takes it from the logits to the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fl_sparse.array_ops import TorchOps
from fl_sparse.learn.descent import OptimizerState, Steps, is_plain
from fl_sparse.learn.network_stack.network import StackedNetwork
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.passes import Passes
from fl_sparse.learn.stack import StackInput, StackResult, part_bytes, part_size, train_in_pieces
from fl_sparse.model.network import NetworkSpec


def train_network(network: StackedNetwork, spec: NetworkSpec, stack: StackInput, ops: TorchOps) -> StackResult:
    """Train a stack of networks.

    Parameters
    ----------
    network
        Gives the pass forward.
    spec
        One network's sizes.
    stack
        Parameters, data and optimiser; without shared weights.
    ops
        The device.

    Returns
    -------
    StackResult
        In NumPy arrays. The same call with the same number of threads gives the same bits. Another stacking of the same
        parts differs by the rounding of the matrix products.

    Raises
    ------
    ValueError
        If the stack has shared weights, to be trained by their factors.
    """
    if stack.shared:
        raise ValueError("a network under autograd has no factored weights; expected all among the parameters")
    model = spec.model
    names = [name for name in stack.parameters if model[name].trained]

    def train(piece: StackInput, state: OptimizerState) -> NDArray[np.float64]:
        with torch.no_grad():
            return _train_piece(network, spec, piece, state, names, ops)

    return train_in_pieces(stack, names, fitting(part_bytes(stack), stack.optimizer, ops), ops, train)


def fitting(held_bytes: int, optimizer: OptimizerSpec, ops: TorchOps) -> int:
    """Return how many parts of so many bytes are trained at a time.

    Autograd holds its gradients until the descent has copied them, so gradients count twice, unless the descent steps
    along them at once. What the pass forward stores for the pass backward is not counted.
    """
    return part_size(held_bytes, optimizer, ops, 0 if is_plain(optimizer) else held_bytes)


def _train_piece(
    network: StackedNetwork,
    spec: NetworkSpec,
    piece: StackInput,
    state: OptimizerState,
    names: Sequence[str],
    ops: TorchOps,
) -> NDArray[np.float64]:
    """Train a stack in place; return each part's loss, float64 (A,)."""
    arrays = {name: ops.from_host(values) for name, values in piece.parameters.items()}
    stepped = {name: arrays[name] for name in names}
    # A leaf shares its array's memory: the next pass forward sees what a step changes.
    leaves = {name: array.detach().requires_grad_() for name, array in stepped.items()}
    passes = Passes(ops, piece, spec.shared_axes.values(), spec.num_classes)
    steps = Steps(ops, piece.optimizer, stepped, state, passes.active)
    scales = [_factor(scale, ops) for scale in piece.scales]
    for step in range(len(passes.active)):
        steps.begin(step)
        x, present = passes.reader.read(step), passes.present(step)
        with torch.enable_grad():
            logits = network.forward(spec, arrays | leaves, x, scales, present, passes.whole_rows)
        # The loss overwrites what it is given, and the pass backward may need the logits themselves.
        gradient = passes.gradient(logits.detach().clone(memory_format=torch.contiguous_format), step)
        for name, values in zip(leaves, torch.autograd.grad(logits, list(leaves.values()), gradient), strict=True):
            steps.descent.gradient(name, values)
        steps.finish(step)
    for name, array in stepped.items():
        ops.copy_to_host(array, piece.parameters[name])
    steps.return_moments()
    return passes.losses()


def _factor(scale: Any, ops: TorchOps) -> Any:
    """Return a layer's factor: a number if it is the same for all parts, else a tensor (A,)."""
    values = np.asarray(scale, dtype=np.float32)
    if (values == values.flat[0]).all():
        return float(values.flat[0])
    return ops.from_host(values)
