"""The MLP's pass forward and backward over a stack of equal-shaped parts, in buffers allocated once.

Symbols: A parts in the stack, b rows of a batch, F input features, H_l units of hidden layer l, C classes.

Every array has A as its first axis, and a layer of all parts is one batched matrix product. A layer's factor c is
folded into its input, c · W h = W (c h): weights, their gradients and the gradient of h then need no extra pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.mlp_stack.factored_layer import FactoredLayer
from fl_sparse.learn.mlp_stack.layers import ACTIVATIONS, LayerNorm
from fl_sparse.model.mlp import OUTPUT, SKIP, LayerNames, MLPSpec


class GradientSink(Protocol):
    """Receives the gradients of the pass backward, layer by layer from the output."""

    def weight(self, name: str, dz: Any, h: Any) -> None:
        """Take a weight's gradient dzᵀ h, from dz (A, b, H_l) and its input h (A, b, H_{l-1})."""

    def vector(self, name: str, rows: Any) -> None:
        """Take a vector's gradient, the sum of rows (A, b, H) over b."""


class StackedMLP:
    """A stack of equal-shaped MLPs.

    Parameters
    ----------
    ops
        The arrays' kind.
    spec
        The shape of one MLP.
    parameters
        Name -> (A, ...); not copied, so changes show in the next pass.
    scales
        One factor c a layer, output included: a float, or (A,) floats.
    batch
        The largest b.
    factored
        Name -> the layer of weights that are trained by their factors, and are not among the parameters.
    training
        Whether passes forward store what a pass backward needs.
    """

    def __init__(
        self,
        ops: ArrayOps,
        spec: MLPSpec,
        parameters: Mapping[str, Any],
        scales: Sequence[Any],
        batch: int,
        factored: Mapping[str, FactoredLayer] | None = None,
        *,
        training: bool = True,
    ) -> None:
        self._factored = factored or {}
        self.ops, self.xp, self.spec, self.parameters = ops, ops.xp, spec, parameters
        self._names = spec.layers
        stack = parameters[OUTPUT.bias].shape[0]
        self._scales = [_factor(ops, scale, stack) for scale in scales]
        self._activation = ACTIVATIONS[spec.activation]
        shapes = [(stack, batch, width) for width in spec.hidden_widths]
        self._hidden = [ops.empty(shape) for shape in shapes]
        self._slope: list[Any] = [ops.empty(shape) if training else None for shape in shapes]
        self._scratch = [ops.empty(shape) for shape in shapes]
        self._logits = ops.empty((stack, batch, spec.num_classes))
        self._norms = [LayerNorm(ops, shape) for shape in shapes] if spec.normalization == "layer" else []
        self._skip = ops.empty(self._logits.shape) if SKIP.weight in parameters else None

    @property
    def scales_input(self) -> bool:
        """Whether the first layer's factor differs from 1, so that its input is not x itself."""
        return self._scales[0] is not None

    def forward(self, x: Any, present: Sequence[Any] | None = None, whole_rows: int = 0) -> Any:
        """Return the logits of x (A, b, F), as a view of a buffer that the next pass overwrites.

        ``present`` holds a mask for each hidden layer, float32 (A, 1, H_l): 1 where a unit takes part in this pass, 0
        where the unit and its gradient are left out. It does not apply to the batch's first ``whole_rows``. None = all.
        """
        xp, rows = self.xp, x.shape[1]
        h = x
        if self._scales[0] is not None:
            h = xp.multiply(x, self._scales[0])
        self._inputs = [h]
        for layer, buffer in enumerate(self._hidden):
            names = self._names[layer]
            z = self._linear(names, h, buffer[:, :rows])
            if self._norms:
                self._norms[layer].forward(z, self.parameters[names.gain], self.parameters[names.shift])
            slope = self._slope[layer]
            if slope is not None:
                slope = slope[:, :rows]
            self._activation(self.ops, z, slope, self._scratch[layer][:, :rows])
            scale = self._scales[layer + 1]
            if scale is not None:
                xp.multiply(z, scale, out=z)
                if slope is not None:
                    xp.multiply(slope, scale, out=slope)
            if present is not None:
                for array in (z[:, whole_rows:], slope[:, whole_rows:]):
                    xp.multiply(array, present[layer], out=array)
            h = z
            self._inputs.append(h)
        logits = self._linear(OUTPUT, h, self._logits[:, :rows])
        if self._skip is not None:
            skip = self._skip[:, :rows]
            self.ops.matmul(x, _transposed(self.parameters[SKIP.weight]), skip)
            xp.add(skip, self.parameters[SKIP.bias][:, None], out=skip)
            xp.add(logits, skip, out=logits)
        return logits

    def backward(self, dlogits: Any, sink: GradientSink) -> None:
        """Send the gradients of the last pass forward to a sink, given the gradient of the logits, (A, b, C).

        The sink may change a layer's weights at once: the gradient of the layer's input is computed before.
        """
        xp, dz, rows = self.xp, dlogits, dlogits.shape[1]
        for layer in range(len(self._hidden), -1, -1):
            names, h = self._names[layer], self._inputs[layer]
            factored = self._factored.get(names.weight)
            if layer:
                dh = self._scratch[layer - 1][:, :rows]
                if factored is None:
                    self.ops.matmul(dz, self.parameters[names.weight], dh)
                else:
                    factored.backward(dz, dh)
            if factored is None:
                sink.weight(names.weight, dz, h)
            else:
                factored.descend(dz)
            sink.vector(names.bias, dz)
            if layer:
                dz = xp.multiply(dh, self._slope[layer - 1][:, :rows], out=dh)
                if self._norms:
                    below = self._names[layer - 1]
                    # Reuse the slope's buffer, which is no longer needed, for the terms of the gain's gradient.
                    products = self._slope[layer - 1][:, :rows]
                    dy, dz = dz, self._norms[layer - 1].backward(dz, self.parameters[below.gain], products)
                    sink.vector(below.gain, products)
                    sink.vector(below.shift, dy)

    def _linear(self, names: LayerNames, h: Any, out: Any) -> Any:
        factored = self._factored.get(names.weight)
        if factored is None:
            self.ops.matmul(h, _transposed(self.parameters[names.weight]), out)
        else:
            factored.forward(h, out)
        return self.xp.add(out, self.parameters[names.bias][:, None], out=out)


def _transposed(matrices: Any) -> Any:
    return matrices.swapaxes(1, 2)


def _factor(ops: ArrayOps, scale: Any, stack: int) -> Any:
    """Return a factor as (A, 1, 1), or None if it is one everywhere."""
    values = np.broadcast_to(np.asarray(scale, dtype=np.float32), (stack,))
    if (values == 1).all():
        return None
    return ops.from_host(values.reshape(stack, 1, 1).copy())
