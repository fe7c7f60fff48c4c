"""Independent Subnet Training: disjoint parts of every hidden layer, drawn anew each round.

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
from fl_sparse.part import SubnetAssignment, subnet_scales
from fl_sparse.rng import Purpose, generator
from fl_sparse.wire.exchange import ClientDescription
from strategies.round.groups import Placement, check_capacity, check_layers


@dataclass(frozen=True)
class IST:
    """S disjoint subnets that cover every hidden unit.

    The j-th client of a round trains subnet pi(j mod S), pi a permutation drawn for the round: with more clients than
    subnets, replicas differ in number by at most one; with fewer, the idle subnets rotate.
    """

    options: ClassVar[tuple[str, ...]] = ("num-subnets", "repartition-every")

    widths: tuple[int, ...]
    num_subnets: int
    scale: str
    repartition_every: int
    seed: int

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Build the rule of a run."""
        if config.num_subnets > 1:
            check_layers(config.widths, f"num-subnets = {config.num_subnets}")
        return cls(config.widths, config.num_subnets, config.scale, config.repartition_every, config.seed)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Placement]:
        """Return each client's subnet.

        Raises
        ------
        InputError
            If a client cannot hold the largest part: which one it gets is drawn.
        """
        largest = [-(-width // self.num_subnets) for width in self.widths]
        for client in clients:
            check_capacity(client, largest, self.widths, f"num-subnets = {self.num_subnets}")
        draw = (round_number - 1) // self.repartition_every
        subnets = draw_subnets(self.widths, self.num_subnets, draw=draw, seed=self.seed)
        placements = [
            Placement(number, subnet, subnet_scales(subnet, self.widths, self.scale))
            for number, subnet in enumerate(subnets)
        ]
        order = generator(Purpose.SUBNET_ORDER, self.seed, round_number).permutation(self.num_subnets)
        return [placements[order[position % self.num_subnets]] for position in range(len(clients))]


def draw_subnets(widths: Sequence[int], num_subnets: int, *, draw: int, seed: int) -> list[SubnetAssignment]:
    """Cut a permutation of each hidden layer's units into S parts.

    Returns
    -------
    list of SubnetAssignment
        S of them; in each layer the parts are disjoint, cover all units, and their sizes differ by at most one.
    """
    layers = [
        even_parts(generator(Purpose.SUBNET_UNITS, seed, draw, layer).permutation(width), num_subnets)
        for layer, width in enumerate(widths)
    ]
    return [SubnetAssignment(tuple(parts[number] for parts in layers)) for number in range(num_subnets)]


def even_parts(order: NDArray[np.int64], num_parts: int) -> list[NDArray[np.int64]]:
    """Cut an order of units into parts of sizes within one unit, each sorted."""
    return [np.sort(part) for part in np.array_split(order, num_parts)]
