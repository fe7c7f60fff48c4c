"""Federated averaging: every client trains the whole model.

References
----------
H. B. McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017,
Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fl_sparse.config import RunConfig
from fl_sparse.part import WHOLE
from fl_sparse.wire import ClientDescription
from strategies.round.groups import AssignmentRule, Axes, Group, Placement, check_capacity, everyone


@dataclass(frozen=True)
class FedAvg(AssignmentRule):
    """Whole models, averaged by examples."""

    axes: Axes

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run."""
        return cls(axes)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return the whole model for all clients."""
        for client in clients:
            check_capacity(client, [*self.axes.values()], self.axes, "a method of whole models")
        return everyone(Placement(WHOLE), clients)
