"""Assignment rules: which part of the model a client trains in a round. Methods differ in nothing else."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fl_sparse.config import RunConfig, default_of, to_mapping
from fl_sparse.config.values import shown
from fl_sparse.errors import InputError
from fl_sparse.learn.task import Parameters
from fl_sparse.model.parameters import Model, axis_name
from fl_sparse.part import Part
from fl_sparse.wire import ClientDescription

UPDATE_KEYS = (
    "server-optimizer",
    "server-learning-rate",
    "update-format",
    "broadcast-format",
    "bias-updates",
    "optimizer-state",
    "round-deadline",
    "init",
    "absent-classes",
)
"""Keys that need clients to send trained models to be averaged."""
ROUNDING = 1e-9
"""Tolerance of share · width, so that a third of 9 units is 3."""

Axes = Mapping[str, int]
"""Axis -> number of units, for the axes that methods share out, in the order of the model's pass forward."""


@dataclass(frozen=True)
class Placement:
    """What a client trains.

    Parameters
    ----------
    part
        Its units of each axis, at least one, and which of their coordinates are alive.
    by_examples
        Whether the client's weight in the average is its number of examples; else it is 1.
    prefixes
        Ordered dropout: each local step draws one of these, and trains only that many first units of each axis that the
        client holds. Empty: every step trains all.
    scaled
        Whether the layers of the part are scaled as the configuration's ``scale`` says.
    """

    part: Part
    by_examples: bool = True
    prefixes: tuple[tuple[int, ...], ...] = ()
    scaled: bool = True


@dataclass(frozen=True)
class Group:
    """Clients that share a placement, so that their message is made once.

    Parameters
    ----------
    number
        The group's number, which replies repeat.
    placement
        What each of them trains.
    positions
        Which of the round's clients they are, ascending.
    """

    number: int
    placement: Placement
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Observed:
    """What a rule with memory is told after a round.

    Parameters
    ----------
    round
        The round.
    model
        What the whole model's parameters are.
    before, after
        Their values.
    groups
        Who trained what.
    answered
        Positions of the round's clients whose replies were added up.
    """

    round: int
    model: Model = field(repr=False)
    before: Parameters = field(repr=False)
    after: Parameters = field(repr=False)
    groups: Sequence[Group] = field(repr=False)
    answered: tuple[int, ...]


class AssignmentRule(ABC):
    """A method: places a round's clients, given the round, the clients, and what the rule remembers.

    A rule is a frozen dataclass; a rule with memory returns a new rule from `observe` and `load`.
    """

    options: ClassVar[tuple[str, ...]] = ()
    """The configuration keys that this method takes and others do not."""
    planned: ClassVar[bool] = True
    """Whether placements follow from the configuration alone, so that they are known before a run."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: RunConfig, axes: Axes) -> Self:
        """Build the rule of a run."""

    @abstractmethod
    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Group]:
        """Return groups that hold each client once; ``clients`` are sorted by partition id, rounds count from 1.

        Raises
        ------
        InputError
            If a client's capacity admits no placement. Round 1 is placed with a client of each capacity before
            anything starts.
        """

    def observe(self, seen: Observed) -> Self:
        """Return the rule that places the next round."""
        return self

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return what the rule remembers, as arrays for a checkpoint."""
        return {}

    def load(self, state: Mapping[str, NDArray[Any]]) -> Self:
        """Return this rule with the memory that `state` returned.

        Raises
        ------
        ValueError
            If the rule has no memory, and ``state`` is not empty.
        """
        if state:
            raise ValueError(f"{type(self).__name__} remembers nothing; expected no {', '.join(state)}")
        return self


def everyone(placement: Placement, clients: Sequence[ClientDescription]) -> list[Group]:
    """Return one group of all clients."""
    return [Group(0, placement, tuple(range(len(clients))))] if clients else []


def one_each(clients: Sequence[ClientDescription], place: Callable[[ClientDescription], Placement]) -> list[Group]:
    """Return a group for each client, numbered by its partition id."""
    return [Group(client.partition_id, place(client), (position,)) for position, client in enumerate(clients)]


def by_kind(
    clients: Sequence[ClientDescription],
    kind: Callable[[ClientDescription], Hashable],
    place: Callable[[ClientDescription], Placement],
) -> list[Group]:
    """Return a group for each kind of client, with the placement of its first client."""
    kinds: dict[Hashable, list[int]] = {}
    for position, client in enumerate(clients):
        kinds.setdefault(kind(client), []).append(position)
    return [
        Group(number, place(clients[positions[0]]), tuple(positions)) for number, positions in enumerate(kinds.values())
    ]


def by_position(groups: Sequence[Group]) -> list[Group]:
    """Return each client's group, in the clients' order."""
    found = {position: group for group in groups for position in group.positions}
    return [found[position] for position in range(len(found))]


def prefix(axes: Axes, share: float) -> Part:
    """Return the part that holds the first units of each axis, a share of them."""
    return Part({axis: np.arange(held_units(size, share), dtype=np.int64) for axis, size in axes.items()})


def held_units(width: int, share: float) -> int:
    """Return how many units of an axis a client of this capacity can hold: ⌈share · width⌉, at least 1."""
    return max(1, math.ceil(share * width - ROUNDING))


def check_takes_no_updates(config: RunConfig, why: str) -> None:
    """Refuse `UPDATE_KEYS` that are not at their defaults, for a strategy that averages no trained model.

    Raises
    ------
    InputError
        Naming the first such key, and why.
    """
    values = to_mapping(config)
    for key in UPDATE_KEYS:
        if values[key] != default_of(key):
            raise InputError(f"{key} = {shown(values[key])}: {why}; expected {shown(default_of(key))}")


def check_axes(axes: Axes, method: str) -> None:
    """Refuse a linear classifier, which has no hidden layer to cut.

    Raises
    ------
    InputError
        Naming the method.
    """
    if not axes:
        raise InputError(
            f"hidden-widths = 'none' leaves {method} no layer to cut; expected a hidden layer, or strategy = 'fedavg'"
        )


def check_capacity(client: ClientDescription, sizes: Sequence[int], axes: Axes, method: str) -> None:
    """Refuse a client that cannot hold so many units of each axis.

    Raises
    ------
    InputError
        Naming the client, its capacity, and the capacity expected.
    """
    for size, (axis, width) in zip(sizes, axes.items(), strict=True):
        if size > held_units(width, client.capacity):
            raise InputError(
                f"client {client.partition_id}: capacity = {client.capacity:g} is too small for {method}, which has "
                f"it train {size} of the {width} units of {axis_name(axis)}; expected {size / width:.4g} or more"
            )


def or_stay(rule: AssignmentRule) -> str:
    """Return what a message may add where parts should stay for longer: the key for that, if the rule has it."""
    return ", or a larger repartition-every" if "repartition-every" in rule.options else ""
