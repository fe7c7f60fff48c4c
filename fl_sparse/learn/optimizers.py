"""Optimisers of local training, by PyTorch's definitions.

Symbols: θ parameters, g gradient, γ learning rate, μ momentum or proximal factor (each where it is named).
"""

from __future__ import annotations

from dataclasses import dataclass

from fl_sparse.errors import InputError, nearest

OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimiser and its numbers; there is no weight decay.

    Parameters
    ----------
    name
        ``sgd``: b ← momentum · b + g (b = g at the first step), θ ← θ − γ b, as ``torch.optim.SGD``; or ``adam``, as
        ``torch.optim.Adam`` (Kingma and Ba, ICLR 2015, algorithm 1).
    learning_rate
        γ > 0.
    momentum
        SGD's, in [0, 1).
    proximal
        μ ≥ 0 of FedProx's term μ/2 · ‖θ − θ_start‖² (Li et al., MLSys 2020, equation 2), whose gradient joins g.
    beta1, beta2, epsilon
        Adam's.

    Raises
    ------
    InputError
        For an unknown name or a number outside its range.
    """

    name: str
    learning_rate: float
    momentum: float = 0.0
    proximal: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise InputError(f"unknown optimizer {self.name!r}{nearest(self.name, OPTIMIZERS)}")
        if not self.learning_rate > 0:
            raise InputError(f"learning-rate {self.learning_rate}: expected a number above 0")
        for key in ("momentum", "beta1", "beta2"):
            if not 0 <= getattr(self, key) < 1:
                raise InputError(f"{key} {getattr(self, key)}: expected at least 0 and below 1")
        if self.name == "adam" and self.momentum:
            raise InputError(f"momentum {self.momentum}: adam has none; it is for sgd")
        if not self.proximal >= 0:
            raise InputError(f"proximal {self.proximal}: expected at least 0")
        if not self.epsilon > 0:
            raise InputError(f"epsilon {self.epsilon}: expected a number above 0")
