"""FedRolex: a window over the units that moves on by one in each round and wraps around.

Symbols: K_i units of hidden layer i (H_l elsewhere); β_n the capacity of client n; j the round, from 0; î = j mod K_i.

References
----------
S. Alam et al., FedRolex: Model-Heterogeneous Federated Learning with Rolling Sub-Model Extraction, NeurIPS 2022,
section 3 (the index sets) and Algorithm 1. The paper rounds β_n K_i down, and so does this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.part import SubnetAssignment, subnet_scales
from fl_sparse.wire.exchange import ClientDescription
from strategies.round.groups import ROUNDING, Placement, check_layers


@dataclass(frozen=True)
class FedRolex:
    """Units î, î+1, ..., î+⌊β_n K_i⌋−1, modulo K_i."""

    options: ClassVar[tuple[str, ...]] = ()

    widths: tuple[int, ...]
    scale: str

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Build the rule of a run."""
        check_layers(config.widths, "strategy 'fedrolex'")
        return cls(config.widths, config.scale)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Placement]:
        """Return each client's window.

        Raises
        ------
        InputError
            If a client's capacity is less than one unit of a layer.
        """
        return [self._place(round_number - 1, client) for client in clients]

    def _place(self, j: int, client: ClientDescription) -> Placement:
        for layer, width in enumerate(self.widths):
            if client.capacity * width + ROUNDING < 1:
                raise InputError(
                    f"client {client.partition_id}: capacity = {client.capacity:g} is less than one of the {width} "
                    f"units of hidden layer {layer}; expected {1 / width:.4g} or more"
                )
        subnet = SubnetAssignment(tuple(window(width, client.capacity, j) for width in self.widths))
        return Placement(client.partition_id, subnet, subnet_scales(subnet, self.widths, self.scale))


def window(width: int, share: float, j: int) -> NDArray[np.int64]:
    """Return the window's units in round j, sorted."""
    size = math.floor(share * width + ROUNDING)
    return np.sort((j % width + np.arange(size, dtype=np.int64)) % width)
