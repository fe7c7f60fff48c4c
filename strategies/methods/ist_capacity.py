"""Independent Subnet Training with parts in proportion to the clients' capacities.

Symbols: M clients of the round, S subnets, H_l units of hidden layer l, r_k the capacity of client k.

The clients of a round are dealt, in a drawn order, into ⌈M/S⌉ groups as even as possible. Each group cuts a permutation
of each layer into disjoint parts, one for each client. Client k gets r_k / max(1, Σ r) of the units (Σ over the group;
whole units by largest remainder, at least one), never more than it can hold. If a group's capacities sum to 1 or more,
it covers every unit; otherwise it leaves the rest as it is. Groups are independent partitions, averaged.

References
----------
B. Yuan et al., Distributed Learning of Fully Connected Neural Networks using Independent Subnet Training, VLDB 2022,
Algorithm 1, whose parts are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.model.parameters import axis_name
from fl_sparse.part import Part
from fl_sparse.rng import Purpose, generator
from fl_sparse.wire import ClientDescription
from strategies.round.groups import ROUNDING, AssignmentRule, Axes, Group, Placement, check_axes


@dataclass(frozen=True)
class ISTCapacity(AssignmentRule):
    """Disjoint parts, one for each client of a group, in proportion to capacities."""

    options: ClassVar[tuple[str, ...]] = ("num-subnets", "repartition-every")

    axes: Axes
    num_subnets: int
    repartition_every: int
    seed: int

    @classmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run.

        Raises
        ------
        InputError
            If a layer has fewer units than a group may have clients.
        """
        check_axes(axes, "strategy 'ist-capacity'")
        axis, narrowest = min(axes.items(), key=lambda item: item[1])
        if config.num_subnets > narrowest:
            raise InputError(
                f"num-subnets = {config.num_subnets} is wider than {axis_name(axis)} of "
                f"{narrowest} units; expected 1 to {narrowest}"
            )
        return cls(axes, config.num_subnets, config.repartition_every, config.seed)

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return each client's part."""
        if not clients:
            return []
        draw = (round_number - 1) // self.repartition_every
        order = generator(Purpose.SUBNET_ORDER, self.seed, draw).permutation(len(clients))
        groups = []
        for number, group in enumerate(np.array_split(order, -(-len(clients) // self.num_subnets))):
            members = np.sort(group)
            capacities = [clients[position].capacity for position in members]
            for position, part in zip(members.tolist(), self._parts(draw, number, capacities), strict=True):
                groups.append(Group(clients[position].partition_id, Placement(part), (position,)))
        return groups

    def _parts(self, draw: int, group: int, capacities: Sequence[float]) -> list[Part]:
        layers = []
        for layer, width in enumerate(self.axes.values()):
            units = generator(Purpose.SUBNET_UNITS, self.seed, draw, layer, group).permutation(width)
            ends = np.cumsum(part_sizes(capacities, width))
            layers.append([np.sort(part) for part in np.split(units, ends)[:-1]])
        return [Part(dict(zip(self.axes, parts, strict=True))) for parts in zip(*layers, strict=True)]


def part_sizes(capacities: Sequence[float], width: int) -> NDArray[np.int64]:
    """Return how many of a layer's units each client of a group trains.

    Parameters
    ----------
    capacities
        r_k of the group's clients, at most ``width`` of them.
    width
        H_l.

    Returns
    -------
    int64 (clients,)
        At least 1 each; they sum to H_l if the capacities sum to 1 or more.
    """
    shares = np.asarray(capacities, dtype=np.float64)
    quotas = shares / max(1.0, float(shares.sum())) * width
    sizes = np.floor(quotas + ROUNDING).astype(np.int64)
    left = int(np.floor(quotas.sum() + ROUNDING)) - int(sizes.sum())
    # Round: remainders that are equal on paper are then served in the clients' order.
    largest = np.argsort(-np.round(quotas - sizes, 9), kind="stable")
    sizes[largest[:left]] += 1
    for poor in np.flatnonzero(sizes == 0):
        if sizes.max() > 1:
            sizes[sizes.argmax()] -= 1
        sizes[poor] = 1
    return sizes
