"""Federated Dropout: each client of a round trains a random subset of the units, drawn independently.

Symbols: H_l units of hidden layer l; r_k the capacity of client k, the share of units that it trains. The paper gives
one share to all clients (``capacities = "0.75"``).

References
----------
S. Caldas et al., Expanding the Reach of Federated Learning by Reducing Client Resource Requirements, arXiv 1812.07210,
section 3.2: a fixed number of activations is dropped at each fully connected layer; inputs and outputs stay whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from fl_sparse.config import RunConfig
from fl_sparse.part import Part
from fl_sparse.rng import Purpose, generator
from fl_sparse.wire import ClientDescription
from strategies.round.groups import AssignmentRule, Axes, Group, Placement, check_axes, held_units, one_each


@dataclass(frozen=True)
class FederatedDropout(AssignmentRule):
    """⌈r_k H_l⌉ units of each layer, drawn from (seed, round, client, layer)."""

    axes: Axes
    seed: int

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run."""
        check_axes(axes, "strategy 'federated-dropout'")
        return cls(axes, config.seed)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return each client's units."""
        return one_each(clients, lambda client: self._place(round_number, client))

    def _place(self, round_number: int, client: ClientDescription) -> Placement:
        units = {}
        for layer, (axis, width) in enumerate(self.axes.items()):
            rng = generator(Purpose.DROPOUT_UNITS, self.seed, round_number, client.partition_id, layer)
            kept = rng.choice(width, size=held_units(width, client.capacity), replace=False, shuffle=False)
            units[axis] = np.sort(kept).astype(np.int64)
        return Placement(Part(units))
