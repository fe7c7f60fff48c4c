"""The pieces of a hidden layer that are not a matrix product: activations and LayerNorm, forward and backward.

Symbols: A parts in the stack, b rows of a batch, H units of the layer. Everything works in place on (A, b, H)
buffers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fl_sparse.array_ops import ArrayOps

NORM_EPSILON = 1e-5
"""As in ``torch.nn.LayerNorm``."""


def relu(ops: ArrayOps, z: Any, slope: Any, scratch: Any) -> None:
    """Replace z by max(z, 0) and write the derivative, 1 where z > 0 and else 0, to ``slope`` unless that is None."""
    ops.relu(z)
    if slope is not None:
        ops.xp.sign(z, out=slope)


def gelu(ops: ArrayOps, z: Any, slope: Any, scratch: Any) -> None:
    """Replace z by GELU's tanh form and write its derivative to ``slope`` unless that is None.

    With u = √(2/π) (z + 0.044715 z³) and t = tanh u: h = z (1 + t)/2 and h' = (1 + t)/2 + z (1 − t²) u'/2, where
    u' = √(2/π) (1 + 3 · 0.044715 z²).
    """
    xp, root, cubic = ops.xp, math.sqrt(2 / math.pi), 0.044715
    t = scratch
    square = xp.multiply(z, z) if slope is None else xp.multiply(z, z, out=slope)
    xp.multiply(square, root * cubic, out=t)
    xp.add(t, root, out=t)
    xp.multiply(t, z, out=t)
    xp.tanh(t, out=t)
    if slope is None:
        xp.add(t, 1.0, out=t)
        xp.multiply(z, t, out=z)
        xp.multiply(z, 0.5, out=z)
        return
    xp.multiply(square, 3 * root * cubic, out=square)
    xp.add(square, root, out=square)
    xp.multiply(square, z, out=slope)
    bent = xp.multiply(slope, t)
    xp.multiply(bent, t, out=bent)
    xp.subtract(slope, bent, out=slope)
    xp.add(t, 1.0, out=t)
    xp.add(slope, t, out=slope)
    xp.multiply(slope, 0.5, out=slope)
    xp.multiply(z, t, out=z)
    xp.multiply(z, 0.5, out=z)


ACTIVATIONS: Mapping[str, Callable[[ArrayOps, Any, Any, Any], None]] = {"relu": relu, "gelu": gelu}


class LayerNorm:
    """LayerNorm over the part's units: there are no running statistics, so training and test compute the same.

    Parameters
    ----------
    ops
        The arrays' kind.
    shape
        (A, b, H), b the largest batch.
    """

    def __init__(self, ops: ArrayOps, shape: tuple[int, int, int]) -> None:
        self._xp = ops.xp
        self._units = shape[2]
        self._normalized, self._gradient = ops.empty(shape), ops.empty(shape)
        self._inverse = ops.empty((*shape[:2], 1))

    def forward(self, z: Any, gain: Any, shift: Any) -> None:
        """Replace z (A, b, H) by ẑ · gain + shift, where ẑ has mean zero and variance one along H."""
        xp, rows = self._xp, z.shape[1]
        normalized, inverse = self._normalized[:, :rows], self._inverse[:, :rows]
        self._mean(z, inverse)
        xp.subtract(z, inverse, out=z)
        xp.multiply(z, z, out=normalized)
        self._mean(normalized, inverse)
        xp.add(inverse, NORM_EPSILON, out=inverse)
        xp.sqrt(inverse, out=inverse)
        xp.reciprocal(inverse, out=inverse)
        xp.multiply(z, inverse, out=normalized)
        xp.multiply(normalized, gain[:, None], out=z)
        xp.add(z, shift[:, None], out=z)

    def backward(self, dy: Any, gain: Any, products: Any) -> Any:
        """Return the gradient of the layer's input; write dy · ẑ, whose sum is the gain's gradient, to ``products``.

        With g = dy · gain: dz = (g − mean(g) − ẑ mean(g ẑ)) / σ, means along H. ``dy`` (A, b, H) is not changed.
        """
        xp, rows = self._xp, dy.shape[1]
        normalized, dz = self._normalized[:, :rows], self._gradient[:, :rows]
        inverse = self._inverse[:, :rows]
        mean = xp.empty_like(inverse)
        xp.multiply(dy, gain[:, None], out=dz)
        xp.multiply(dz, normalized, out=products)
        self._mean(products, mean)
        xp.multiply(normalized, mean, out=products)
        self._mean(dz, mean)
        xp.subtract(dz, mean, out=dz)
        xp.subtract(dz, products, out=dz)
        xp.multiply(dz, inverse, out=dz)
        xp.multiply(dy, normalized, out=products)
        return dz

    def _mean(self, values: Any, out: Any) -> None:
        self._xp.sum(values, axis=-1, keepdims=True, out=out)
        self._xp.multiply(out, 1.0 / self._units, out=out)
