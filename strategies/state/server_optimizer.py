"""Server optimisers: a step along the clients' averaged change, over any assignment of units.

Symbols: θ the model, Δ = Σ_k w_k θ_k / Σ_k w_k − θ where some client holds the coordinate; m, v first and second
moment; η server learning rate, β₁, β₂ decay rates, τ degree of adaptivity.

=============  ==========================================================================================
``average``    θ ← θ + η Δ; with η = 1 the average itself, as in FedAvg and every method on top of it
``momentum``   FedAvgM: m ← β₁ m + Δ, θ ← θ + η m
``adagrad``    v ← v + Δ²
``adam``       v ← β₂ v + (1 − β₂) Δ²
``yogi``       v ← v − (1 − β₂) Δ² sign(v − Δ²)
=============  ==========================================================================================

The last three also have m ← β₁ m + (1 − β₁) Δ, θ ← θ + η m / (√v + τ), from m = 0, v = τ², without bias correction.
If no client held a coordinate in the round, its value and its moments do not change, bit for bit.

References
----------
T.-M. H. Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, arXiv
1909.06335 (FedAvgM). S. Reddi et al., Adaptive Federated Optimization, ICLR 2021, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig, default_of, to_mapping
from fl_sparse.errors import InputError
from fl_sparse.learn.task import OptimizerMoments, Parameters
from fl_sparse.nested_names import flattened, nested

Values = NDArray[np.float32]

TAKES: Mapping[str, tuple[str, ...]] = {
    "average": (),
    "momentum": ("server-momentum",),
    "adagrad": ("server-momentum", "server-tau"),
    "adam": ("server-momentum", "server-beta2", "server-tau"),
    "yogi": ("server-momentum", "server-beta2", "server-tau"),
}
USUAL_RATE: Mapping[str, float] = {"average": 1.0, "momentum": 1.0}
ADAPTIVE_RATE = 0.01


@dataclass(frozen=True)
class ServerOptimizer:
    """How the server steps along Δ.

    Parameters
    ----------
    name
        One of the table's.
    learning_rate
        η.
    beta1, beta2, tau
        β₁, β₂ and τ, where the method has them.
    """

    name: str
    learning_rate: float
    beta1: float
    beta2: float
    tau: float

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Read a run's server optimiser.

        Raises
        ------
        InputError
            For a number that the chosen optimiser does not take.
        """
        name, values = config.server_optimizer, to_mapping(config)
        for key in ("server-momentum", "server-beta2", "server-tau"):
            if key not in TAKES[name] and values[key] != default_of(key):
                takers = ", ".join(other for other, keys in TAKES.items() if key in keys)
                raise InputError(f"{key} = {values[key]!r}: server-optimizer {name!r} has none; it is for {takers}")
        rate = config.server_learning_rate or USUAL_RATE.get(name, ADAPTIVE_RATE)
        return cls(name, rate, config.server_momentum, config.server_beta2, config.server_tau)

    @property
    def moments(self) -> Mapping[str, float]:
        """Moment -> the value that it starts from."""
        if self.name == "average":
            return {}
        return {"first": 0.0} | ({} if self.name == "momentum" else {"second": self.tau**2})

    def state(self, moments: OptimizerMoments) -> dict[str, NDArray[Any]]:
        """Return moments as arrays for a checkpoint."""
        return flattened(moments)

    def load(self, state: Mapping[str, NDArray[Any]]) -> OptimizerMoments:
        """Return the moments from what `state` returned."""
        return nested(state)

    def step(
        self,
        parameters: Parameters,
        averaged: Parameters,
        covered: Mapping[str, NDArray[np.bool_] | None],
        moments: OptimizerMoments,
    ) -> tuple[dict[str, Values], dict[str, dict[str, Values]]]:
        """Return the next model and the next moments; the arguments are not changed.

        Parameters
        ----------
        parameters
            θ, float32.
        averaged
            θ + Δ, as `fl_sparse.part.scatter` returns it.
        covered
            Parameter -> which coordinates some client held; None if all.
        moments
            The moments that the last step returned; empty before the first.
        """
        if self.name == "average" and self.learning_rate == 1.0:
            return dict(averaged), {}
        model: dict[str, Values] = {}
        after: dict[str, dict[str, Values]] = {moment: {} for moment in self.moments}
        for name, values in parameters.items():
            held = covered[name]
            place = ... if held is None else held
            kept = {
                moment: moments[moment][name].copy() if moments else np.full(values.shape, start, dtype=np.float32)
                for moment, start in self.moments.items()
            }
            change, stepped = self._change(
                averaged[name][place] - values[place], {moment: array[place] for moment, array in kept.items()}
            )
            model[name] = values.copy()
            model[name][place] += change
            for moment, array in stepped.items():
                kept[moment][place] = array
                after[moment][name] = kept[moment]
        return model, after

    def _change(self, delta: Values, moments: Mapping[str, Values]) -> tuple[Values, dict[str, Values]]:
        """Return the change of θ and the next moments of the held coordinates."""
        rate, beta1, beta2 = np.float32(self.learning_rate), np.float32(self.beta1), np.float32(self.beta2)
        if self.name == "average":
            return rate * delta, {}
        if self.name == "momentum":
            first = beta1 * moments["first"] + delta
            return rate * first, {"first": first}
        first = beta1 * moments["first"] + (1 - beta1) * delta
        second, square = moments["second"], delta * delta
        if self.name == "adagrad":
            second = second + square
        elif self.name == "adam":
            second = beta2 * second + (1 - beta2) * square
        else:
            second = second - (1 - beta2) * square * np.sign(second - square)
        root: Values = np.sqrt(second)
        return rate * first / (root + np.float32(self.tau)), {"first": first, "second": second}
