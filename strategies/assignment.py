"""The one thing in which sub-model methods differ: which units of the MLP a client trains in a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fl_sparse.exchange import ClientDescription
from fl_sparse.subnet import SubnetAssignment


@dataclass(frozen=True)
class Placement:
    """What one client trains: a subnet's number, its units, and the scales of its forward pass."""

    subnet: int
    assignment: SubnetAssignment
    scales: tuple[float, ...]


class AssignmentRule(Protocol):
    """A sub-model method: a pure function of the round and of the clients in it."""

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Placement]:
        """Return one placement a client; ``clients`` are sorted by partition id, rounds count from 1."""
        ...


def whole_model(widths: Sequence[int]) -> Placement:
    """Return the placement that holds every unit, unscaled."""
    units = tuple(np.arange(width, dtype=np.int64) for width in widths)
    return Placement(0, SubnetAssignment(units), (1.0,) * (len(widths) + 1))
