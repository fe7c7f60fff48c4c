"""FedProx: FedAvg with a term that holds each client near the weights it received.

The term μ/2 · ‖θ − θ_start‖² belongs to a client's optimiser (key ``proximal``). Any strategy may have it; this one
requires it.

References
----------
T. Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020, Algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from strategies.methods.fedavg import FedAvg
from strategies.round.groups import Axes


@dataclass(frozen=True)
class FedProx(FedAvg):
    """FedAvg with μ > 0."""

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run.

        Raises
        ------
        InputError
            If there is no proximal term.
        """
        if not config.proximal:
            raise InputError("proximal = 0 makes strategy 'fedprox' FedAvg; expected a positive number, such as 0.01")
        return super().from_config(config, axes)
