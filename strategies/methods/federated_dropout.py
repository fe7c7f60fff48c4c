"""Federated Dropout: each client of a round trains a random subset of the units, drawn independently.

Symbols: H_l units of hidden layer l; r_k the share of them that client k keeps, its capacity. The paper gives one share
to all clients (``capacities = "0.75"``).

References
----------
S. Caldas et al., Expanding the Reach of Federated Learning by Reducing Client Resource Requirements, arXiv 1812.07210,
section 3.2: a fixed number of activations is dropped at each fully connected layer; inputs and outputs stay whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from fl_sparse.config import RunConfig
from fl_sparse.part import SubnetAssignment, subnet_scales
from fl_sparse.rng import Purpose, generator
from fl_sparse.wire.exchange import ClientDescription
from strategies.round.groups import Placement, check_layers, held_units


@dataclass(frozen=True)
class FederatedDropout:
    """⌈r_k H_l⌉ units of each layer, drawn from (seed, round, client, layer)."""

    options: ClassVar[tuple[str, ...]] = ()

    widths: tuple[int, ...]
    scale: str
    seed: int

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Build the rule of a run."""
        check_layers(config.widths, "strategy 'federated-dropout'")
        return cls(config.widths, config.scale, config.seed)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Placement]:
        """Return each client's units."""
        return [self._place(round_number, client) for client in clients]

    def _place(self, round_number: int, client: ClientDescription) -> Placement:
        units = []
        for layer, width in enumerate(self.widths):
            rng = generator(Purpose.DROPOUT_UNITS, self.seed, round_number, client.partition_id, layer)
            kept = rng.choice(width, size=held_units(width, client.capacity), replace=False, shuffle=False)
            units.append(np.sort(kept).astype(np.int64))
        subnet = SubnetAssignment(tuple(units))
        return Placement(client.partition_id, subnet, subnet_scales(subnet, self.widths, self.scale))
