"""Federated averaging: every client trains the whole model.

References
----------
H. B. McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017,
Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from fl_sparse.config import RunConfig
from fl_sparse.wire.exchange import ClientDescription
from strategies.round.groups import Placement, check_capacity, whole_model


@dataclass(frozen=True)
class FedAvg:
    """Whole models, averaged by examples."""

    options: ClassVar[tuple[str, ...]] = ()

    widths: tuple[int, ...]

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Build the rule of a run."""
        return cls(config.widths)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Placement]:
        """Return the whole model for each client."""
        for client in clients:
            check_capacity(client, self.widths, self.widths, "a method of whole models")
        return [whole_model(self.widths)] * len(clients)
