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
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.model.parameters import axis_name
from fl_sparse.part import Part
from fl_sparse.wire import ClientDescription
from strategies.round.groups import ROUNDING, AssignmentRule, Axes, Group, Placement, by_kind, check_axes


@dataclass(frozen=True)
class FedRolex(AssignmentRule):
    """Units î, î+1, ..., î+⌊β_n K_i⌋−1, modulo K_i."""

    axes: Axes

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run."""
        check_axes(axes, "strategy 'fedrolex'")
        return cls(axes)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return each client's window.

        Raises
        ------
        InputError
            If a client's capacity is less than one unit of a layer.
        """
        return by_kind(clients, lambda client: client.capacity, lambda client: self._place(round_number - 1, client))

    def _place(self, j: int, client: ClientDescription) -> Placement:
        for axis, width in self.axes.items():
            if client.capacity * width + ROUNDING < 1:
                raise InputError(
                    f"client {client.partition_id}: capacity = {client.capacity:g} is less than one of the {width} "
                    f"units of {axis_name(axis)}; expected {1 / width:.4g} or more"
                )
        return Placement(Part({axis: window(width, client.capacity, j) for axis, width in self.axes.items()}))


def window(width: int, share: float, j: int) -> NDArray[np.int64]:
    """Return the window's units in round j, sorted."""
    size = math.floor(share * width + ROUNDING)
    return np.sort((j % width + np.arange(size, dtype=np.int64)) % width)
