"""Independent Subnet Training: disjoint parts of every hidden layer, drawn anew every ``repartition-every`` rounds.

References
----------
B. Yuan et al., Distributed Learning of Fully Connected Neural Networks using Independent Subnet Training, VLDB 2022,
Algorithm 1. The draws, the scales and the shared output bias are stated in ``docs/architecture.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.part import Part
from fl_sparse.rng import Purpose, generator
from fl_sparse.wire import ClientDescription
from strategies.round.groups import AssignmentRule, Axes, Group, Placement, check_axes, check_capacity


@dataclass(frozen=True)
class IST(AssignmentRule):
    """S disjoint subnets that cover every hidden unit.

    The j-th client of a round trains subnet pi(j mod S); pi is a permutation drawn for the round. With more clients
    than subnets, subnets' replicas differ in number by at most one. With fewer, the idle subnets rotate.
    """

    options: ClassVar[tuple[str, ...]] = ("num-subnets", "repartition-every")

    axes: Axes
    num_subnets: int
    repartition_every: int
    seed: int

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run."""
        if config.num_subnets > 1:
            check_axes(axes, f"num-subnets = {config.num_subnets}")
        return cls(axes, config.num_subnets, config.repartition_every, config.seed)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return a group for each subnet that a client trains.

        Raises
        ------
        InputError
            If a client cannot hold the largest subnet: which subnet it gets is drawn.
        """
        largest = [-(-width // self.num_subnets) for width in self.axes.values()]
        for client in clients:
            check_capacity(client, largest, self.axes, f"num-subnets = {self.num_subnets}")
        draw = (round_number - 1) // self.repartition_every
        subnets = draw_subnets(self.axes, self.num_subnets, draw=draw, seed=self.seed)
        order = generator(Purpose.SUBNET_ORDER, self.seed, round_number).permutation(self.num_subnets)
        trained = zip(order.tolist(), range(len(clients)), strict=False)
        return [
            Group(subnet, Placement(subnets[subnet]), tuple(range(first, len(clients), self.num_subnets)))
            for subnet, first in trained
        ]


def draw_subnets(axes: Axes, num_subnets: int, *, draw: int, seed: int) -> list[Part]:
    """Return S subnets, cut from a permutation of each axis's units.

    Returns
    -------
    list of Part
        S subnets; along each axis they are disjoint, cover all units, and differ in size by at most one.
    """
    parts = {
        axis: even_parts(generator(Purpose.SUBNET_UNITS, seed, draw, layer).permutation(width), num_subnets)
        for layer, (axis, width) in enumerate(axes.items())
    }
    return [Part({axis: cut[number] for axis, cut in parts.items()}) for number in range(num_subnets)]


def even_parts(order: NDArray[np.int64], num_parts: int) -> list[NDArray[np.int64]]:
    """Return an order of units cut into sorted parts whose sizes differ by at most one."""
    return [np.sort(part) for part in np.array_split(order, num_parts)]
