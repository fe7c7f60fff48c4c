"""Optimiser steps on a stack of parts, in place.

Symbols: A parts in the stack, θ parameters, g gradient, γ learning rate, τ steps of this call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.optimizers import OptimizerSpec


@dataclass(frozen=True)
class OptimizerState:
    """What an optimiser carries from one call to the next, for a stack of A parts, as NumPy arrays.

    Parameters
    ----------
    steps
        int64 (A,): steps taken so far.
    moments
        Name of a moment -> name of a parameter -> float32 (A, ...), or a sequence of A arrays. SGD with momentum has
        ``momentum``, Adam ``first`` and ``second``: torch's ``momentum_buffer``, ``exp_avg`` and ``exp_avg_sq``.
    """

    steps: NDArray[np.int64]
    moments: Mapping[str, Mapping[str, Any]] = field(repr=False)


def moment_names(optimizer: OptimizerSpec) -> tuple[str, ...]:
    """Return the names of an optimiser's moments."""
    if optimizer.name == "adam":
        return ("first", "second")
    return ("momentum",) if optimizer.momentum else ()


def is_plain(optimizer: OptimizerSpec) -> bool:
    """Tell whether a step needs only the gradient: SGD without momentum and proximal term."""
    return optimizer.name == "sgd" and not optimizer.momentum and not optimizer.proximal


class PlainDescent:
    """Plain SGD: θ ← θ − γ g as soon as g is known. If a kernel can add a product to θ, g takes no memory."""

    def __init__(self, ops: ArrayOps, optimizer: OptimizerSpec, parameters: Mapping[str, Any]) -> None:
        self._ops, self._parameters = ops, parameters
        self._rate = optimizer.learning_rate
        self._scratch = ops.product_scratch(parameters)

    def weight(self, name: str, dz: Any, h: Any) -> None:
        """Step a weight along its gradient dzᵀ h."""
        self._ops.add_matmul(self._parameters[name], dz.swapaxes(1, 2), h, -self._rate, self._scratch)

    def vector(self, name: str, rows: Any) -> None:
        """Step a vector along its gradient, the sum of the rows."""
        xp = self._ops.xp
        gradient = xp.sum(rows, axis=1)
        xp.multiply(gradient, self._rate, out=gradient)
        xp.subtract(self._parameters[name], gradient, out=self._parameters[name])

    def gradient(self, name: str, values: Any) -> None:
        """Step a parameter along its gradient."""
        xp = self._ops.xp
        xp.subtract(self._parameters[name], xp.multiply(values, self._rate), out=self._parameters[name])

    def finish(self, step: int) -> None:
        """Do nothing: every parameter has been stepped already."""


class GradientDescent:
    """Collects all gradients, then adds the proximal term and steps: SGD with momentum, or Adam.

    Parameters
    ----------
    ops
        The arrays' kind.
    optimizer
        The optimiser.
    parameters
        Name -> θ (A, ...), stepped in place.
    moments
        Moment -> name -> (A, ...), updated in place.
    counts
        int64 (τ, A): how many steps each part has taken after each step of this call.
    """

    def __init__(
        self,
        ops: ArrayOps,
        optimizer: OptimizerSpec,
        parameters: Mapping[str, Any],
        moments: Mapping[str, Mapping[str, Any]],
        counts: NDArray[np.int64],
    ) -> None:
        self._ops, self._optimizer, self._parameters = ops, optimizer, parameters
        self._gradients = {name: ops.empty(tuple(values.shape)) for name, values in parameters.items()}
        stack = counts.shape[1]
        self._pieces = [
            tuple(array.reshape(stack, -1)[:, piece] for array in arrays)
            for name, values in parameters.items()
            for arrays in [(values, self._gradients[name], *(moment[name] for moment in moments.values()))]
            for piece in ops.pieces(stack, math.prod(values.shape[1:]))
        ]
        self._scratch = ops.empty((max(stack * piece[0].shape[1] for piece in self._pieces),))
        # One start for each piece; + 0.0 copies it.
        self._start = [piece[0] + 0.0 if optimizer.proximal else None for piece in self._pieces]
        if optimizer.name == "adam":
            self._counts = counts
            self._rates, self._epsilons = (ops.from_host(v) for v in _adam_factors(optimizer, counts))

    def weight(self, name: str, dz: Any, h: Any) -> None:
        """Store a weight's gradient, dzᵀ h."""
        self._ops.matmul(dz.swapaxes(1, 2), h, self._gradients[name])

    def vector(self, name: str, rows: Any) -> None:
        """Store a vector's gradient, the sum of the rows."""
        self._ops.xp.sum(rows, axis=1, out=self._gradients[name])

    def gradient(self, name: str, values: Any) -> None:
        """Store a parameter's gradient."""
        self._gradients[name][...] = values

    def finish(self, step: int) -> None:
        """Step every parameter along the gradients collected since the last call."""
        optimizer = self._optimizer
        if optimizer.proximal:
            self._add_proximal()
        # The fused Adam kernel reads memory once instead of a dozen times; it needs one step count for all parts.
        if optimizer.name == "adam" and len(set(self._counts[step].tolist())) == 1:
            count = int(self._counts[step, 0])
            betas = optimizer.beta1, optimizer.beta2
            if self._ops.adam(self._pieces, count, optimizer.learning_rate, betas, optimizer.epsilon):
                return
        for values, gradient, *moments in self._pieces:
            scratch = self._scratch_like(values)
            if optimizer.name == "adam":
                change = self._adam(gradient, moments, scratch, step)
            else:
                change = self._momentum(gradient, moments, scratch)
            self._ops.xp.subtract(values, change, out=values)

    def _add_proximal(self) -> None:
        xp = self._ops.xp
        for (values, gradient, *_), start in zip(self._pieces, self._start, strict=True):
            scratch = self._scratch_like(values)
            xp.subtract(values, start, out=scratch)
            xp.multiply(scratch, self._optimizer.proximal, out=scratch)
            xp.add(gradient, scratch, out=gradient)

    def _scratch_like(self, values: Any) -> Any:
        return self._scratch[: values.shape[0] * values.shape[1]].reshape(values.shape)

    def _momentum(self, gradient: Any, moments: list[Any], scratch: Any) -> Any:
        xp, optimizer = self._ops.xp, self._optimizer
        direction = gradient
        for velocity in moments:
            xp.multiply(velocity, optimizer.momentum, out=velocity)
            direction = xp.add(velocity, gradient, out=velocity)
        return xp.multiply(direction, optimizer.learning_rate, out=scratch)

    def _adam(self, gradient: Any, moments: list[Any], scratch: Any, step: int) -> Any:
        xp, optimizer = self._ops.xp, self._optimizer
        first, second = moments
        xp.multiply(gradient, 1 - optimizer.beta1, out=scratch)
        xp.multiply(first, optimizer.beta1, out=first)
        xp.add(first, scratch, out=first)
        xp.multiply(gradient, gradient, out=gradient)
        xp.multiply(gradient, 1 - optimizer.beta2, out=gradient)
        xp.multiply(second, optimizer.beta2, out=second)
        xp.add(second, gradient, out=second)
        xp.sqrt(second, out=scratch)
        xp.add(scratch, self._epsilons[step], out=scratch)
        xp.divide(first, scratch, out=scratch)
        return xp.multiply(scratch, self._rates[step], out=scratch)


class Steps:
    """The steps of a stack: a descent for the parts that have examples in a step; the other parts wait.

    Parameters
    ----------
    ops
        The arrays' kind.
    optimizer
        The optimiser.
    stepped
        Name -> (A, ...), on the learner's device, stepped in place.
    state
        Steps and moments so far, in NumPy; a moment without parameters starts at zero.
    active
        bool (τ, A): which parts have examples in a step. In other steps a part's values and moments do not change.
    """

    def __init__(
        self,
        ops: ArrayOps,
        optimizer: OptimizerSpec,
        stepped: Mapping[str, Any],
        state: OptimizerState,
        active: NDArray[np.bool_],
    ) -> None:
        self._ops, self._active, self._state = ops, active, state
        self._waits: list[bool] = np.asarray(~active.all(axis=1)).tolist()
        self._moments: dict[str, dict[str, Any]] = {}
        self.descent: PlainDescent | GradientDescent
        if is_plain(optimizer):
            self.descent = PlainDescent(ops, optimizer, stepped)
        else:
            self._moments = {
                moment: {name: ops.from_host(held[name]) if held else ops.zeros_like(stepped[name]) for name in stepped}
                for moment, held in state.moments.items()
            }
            counts = state.steps + np.cumsum(active, axis=0)
            self.descent = GradientDescent(ops, optimizer, stepped, self._moments, counts)
        self._moving = [*stepped.values(), *(array for held in self._moments.values() for array in held.values())]
        self._saved: list[tuple[Any, Any, Any]] = []

    def begin(self, step: int) -> None:
        """Save the values and moments of parts without examples in the step."""
        if self._waits[step]:
            index = self._ops.from_host(np.flatnonzero(~self._active[step]))
            self._saved = [(array, index, array[index]) for array in self._moving]

    def finish(self, step: int) -> None:
        """Step along the gradients that the descent was given, then restore what was saved."""
        self.descent.finish(step)
        for array, index, values in self._saved:
            array[index] = values
        self._saved = []

    def return_moments(self) -> None:
        """Write the moments back to the state's arrays."""
        for moment, held in self._moments.items():
            for name, host in self._state.moments[moment].items():
                self._ops.copy_to_host(held[name], host)


def _adam_factors(
    optimizer: OptimizerSpec, counts: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return γ' and ε', float32 (τ, A, 1): with them, Adam's bias corrections need no pass over the moments.

    With b₁ = 1 − β₁ᵗ and b₂ = 1 − β₂ᵗ, the change γ (m/b₁) / (√(v/b₂) + ε) is γ' m / (√v + ε'), where γ' = γ √b₂/b₁ and
    ε' = ε √b₂ (Kingma and Ba, end of section 2).
    """
    steps = np.maximum(counts, 1)[:, :, None].astype(np.float64)
    root = np.sqrt(1 - optimizer.beta2**steps)
    rates = optimizer.learning_rate * root / (1 - optimizer.beta1**steps)
    return rates.astype(np.float32), (optimizer.epsilon * root).astype(np.float32)
