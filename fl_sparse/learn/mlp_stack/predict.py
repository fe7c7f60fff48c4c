"""Logits of one MLP, by the stacked pass forward with a stack of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fl_sparse.array_ops import ops_of
from fl_sparse.learn.mlp_stack.network import StackedMLP
from fl_sparse.model.mlp import MLPSpec


def predict(
    parameters: Mapping[str, Any],
    spec: MLPSpec,
    features: Any,
    scales: Sequence[float] | None = None,
    *,
    batch_size: int = 1024,
) -> Any:
    """Return logits float32 (n, C), an array of the same kind as the features.

    Parameters
    ----------
    parameters
        One model's parameters: NumPy arrays, or tensors on the features' device.
    spec
        The model's sizes and functions.
    features
        float32 (n, F), NumPy or torch.
    scales
        One factor c a layer, the output's last; None means 1 everywhere, as for the global model.
    batch_size
        Rows of one pass: few enough for hidden layers to stay in the processor's cache.
    """
    ops = ops_of(features)
    stacked = {name: values[None] for name, values in ops.as_arrays(parameters).items()}
    factors = (1.0,) * (len(spec.hidden_widths) + 1) if scales is None else tuple(scales)
    network = StackedMLP(ops, spec, stacked, factors, min(batch_size, len(features)), training=False)
    logits = ops.empty((len(features), spec.num_classes))
    for start in range(0, len(features), batch_size):
        rows = slice(start, min(start + batch_size, len(features)))
        logits[rows] = network.forward(features[rows][None])[0]
    return logits
