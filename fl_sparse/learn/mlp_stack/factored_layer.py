"""A layer that starts from the same weights in all parts of a stack, trained by SGD without copies of the weights.

Symbols: A parts, τ steps, b rows of a batch, W_0 (H', H) the weights received, h_s (b, H) the input of a part's
layer and δ_s (b, H') the gradient of its output in step s, c coefficients, γ learning rate, β momentum, μ the proximal
factor.

Under SGD, weights are always W_0 plus a combination of the products δ_sᵀ h_s. So the weights before step t follow from
the δ_s and h_s of the steps before:

    W_t = W_0 + Σ_{s<t} c_ts δ_sᵀ h_s
    h_t W_tᵀ = h_t W_0ᵀ + Σ_{s<t} c_ts (h_t h_sᵀ) δ_s        δ_t W_t = δ_t W_0 + Σ_{s<t} c_ts (δ_t δ_sᵀ) h_s

The gain: the products with W_0 are one matrix product for the whole stack, and no part's own weights are read or
written. The velocity has coefficients v, all zero at first. Step t sets v_s ← β v_s + μ c_s, adds one where s = t, and
then sets c_s ← c_s − γ v_s. Without momentum and proximal term, all c are −γ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps, aligned
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.part.factored import FactoredWeight


class FactoredLayer:
    """W_t of every part in a stack, by its factors.

    Parameters
    ----------
    ops
        The arrays' kind.
    received
        W_0, float32 (H', H), NumPy; not changed.
    batch
        b.
    optimizer
        SGD.
    active
        bool (τ, A): which parts have examples in a step. δ has to be zero for the other parts.
    """

    def __init__(
        self,
        ops: ArrayOps,
        received: NDArray[np.float32],
        batch: int,
        optimizer: OptimizerSpec,
        active: NDArray[np.bool_],
    ) -> None:
        (steps, stack), (outputs, inputs) = active.shape, received.shape
        self._ops, self._received = ops, received
        # Align: an operand's place in memory may change a product's last bits.
        self._start = ops.from_host(aligned(received))
        self._gradients = ops.empty((stack, steps * batch, outputs))
        self.inputs = ops.empty((stack, steps * batch, inputs))
        self._ahead = False
        self._overlaps = ops.empty((stack * batch * steps * batch,))
        self._scratch = ops.product_scratch({"": self._gradients[:, :batch], "input": self.inputs[:, :batch]})
        self._batch, self._rate, self._step = batch, optimizer.learning_rate, 0
        self._coefficients = None
        if optimizer.momentum or optimizer.proximal:
            by_row = np.repeat(coefficients(optimizer, active), batch, axis=2)
            self._coefficients = ops.from_host(by_row[:, :, None])

    def multiply_ahead(self) -> None:
        """Multiply the inputs of all steps by W_0 at once; the caller has filled the buffer `inputs` (A, τ b, H).

        One large matrix product is faster than τ small ones. The products wait in the gradients' buffer.
        """
        outputs, inputs = (array.reshape(-1, array.shape[2]) for array in (self._gradients, self.inputs))
        self._ops.xp.matmul(inputs, self._start.T, out=outputs)
        self._ahead = True

    def input(self, step: int) -> Any:
        """Return a step's input (A, b, H) from the buffer that `multiply_ahead` used."""
        return self.inputs[:, step * self._batch : (step + 1) * self._batch]

    def forward(self, h: Any, out: Any) -> None:
        """Write h_t W_tᵀ (A, b, H') of the step's input h_t (A, b, H)."""
        done = self._step * self._batch
        own = slice(done, done + self._batch)
        if self._ahead:
            out[...] = self._gradients[:, own]
        else:
            self.inputs[:, own] = h
            self._with_start(h, self._start.T, out)
        self._add_steps(h, self.inputs[:, :done], self._gradients[:, :done], out)

    def backward(self, dz: Any, out: Any) -> None:
        """Write δ_t W_t (A, b, H)."""
        done = self._step * self._batch
        self._with_start(dz, self._start, out)
        self._add_steps(dz, self._gradients[:, :done], self.inputs[:, :done], out)

    def descend(self, dz: Any) -> None:
        """Take the step along δ_tᵀ h_t."""
        done = self._step * self._batch
        self._gradients[:, done : done + self._batch] = dz
        self._step += 1

    def trained(self) -> list[FactoredWeight]:
        """Return the weights of each part after all steps; call this only once, since it overwrites buffers."""
        factor = -self._rate if self._coefficients is None else self._coefficients[-1].swapaxes(1, 2)
        self._ops.xp.multiply(self._gradients, factor, out=self._gradients)
        norms = (self._ops.norms(factors).astype(np.float64) for factors in (self._gradients, self.inputs))
        bounds = np.multiply(*norms).tolist()
        return [
            FactoredWeight(self._received, gradients, inputs, self._ops, bound)
            for gradients, inputs, bound in zip(self._gradients, self.inputs, bounds, strict=True)
        ]

    def _with_start(self, rows: Any, start: Any, out: Any) -> None:
        """Write rows (A, b, i) times W_0 or its transpose, (i, o)."""
        if rows.shape[1] != self._batch:
            raise ValueError(f"a batch of {rows.shape[1]} rows; expected {self._batch}")
        flat = rows.reshape(-1, rows.shape[2])
        self._ops.xp.matmul(flat, start, out=out.reshape(-1, out.shape[2]))

    def _add_steps(self, rows: Any, like: Any, take: Any, out: Any) -> None:
        """Add Σ c (rows · like) take, over the steps before, to ``out``."""
        if not self._step:
            return
        ops = self._ops
        stack, done = like.shape[:2]
        overlaps = self._overlaps[: stack * self._batch * done].reshape(stack, self._batch, done)
        ops.matmul(rows, like.swapaxes(1, 2), overlaps)
        factor = -self._rate
        if self._coefficients is not None:
            factor = 1.0
            ops.xp.multiply(overlaps, self._coefficients[self._step][:, :, :done], out=overlaps)
        ops.add_matmul(out, overlaps, take, factor, self._scratch)


def coefficients(optimizer: OptimizerSpec, active: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return c before each step and after the last, float32 (τ + 1, A, τ); ``active`` as in `FactoredLayer`."""
    steps, stack = active.shape
    held, velocity = np.zeros((stack, steps)), np.zeros((stack, steps))
    before = [held]
    for step, moves in enumerate(active):
        gradient = optimizer.proximal * held
        gradient[:, step] += 1.0
        velocity = np.where(moves[:, None], optimizer.momentum * velocity + gradient, velocity)
        held = np.where(moves[:, None], held - optimizer.learning_rate * velocity, held)
        before.append(held)
    return np.stack(before).astype(np.float32)
