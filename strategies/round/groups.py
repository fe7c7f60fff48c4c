"""The one thing in which sub-model methods differ: which units of the MLP a client trains in a round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np

from fl_sparse.config import RunConfig, default_of, to_mapping
from fl_sparse.config.values import shown
from fl_sparse.errors import InputError
from fl_sparse.part import SubnetAssignment
from fl_sparse.wire.exchange import ClientDescription

UPDATE_KEYS = (
    "server-optimizer",
    "server-learning-rate",
    "update-format",
    "bias-updates",
    "optimizer-state",
    "round-deadline",
    "init",
    "absent-classes",
)
"""What only makes sense where clients send trained models to be averaged."""
ROUNDING = 1e-9
"""What a product of a share and a width may be off by, so that a third of 9 units is 3."""


@dataclass(frozen=True)
class Placement:
    """What one client trains.

    Parameters
    ----------
    subnet
        The subnet's number; the reply repeats it.
    assignment
        The units of each hidden layer.
    scales
        One factor a layer of the subnet's forward pass, the output's last.
    by_examples
        Whether the client's weight in the average is its number of examples, or 1.
    prefixes
        Ordered dropout: widths, one number a hidden layer, of which each local step draws one and trains that many
        first units of what the client holds; none means that all steps train all.
    """

    subnet: int
    assignment: SubnetAssignment
    scales: tuple[float, ...]
    by_examples: bool = True
    prefixes: tuple[tuple[int, ...], ...] = ()


class AssignmentRule(Protocol):
    """A sub-model method: a pure function of the round and of the clients in it.

    Attributes
    ----------
    options
        The configuration keys that this method takes and others do not.
    """

    options: ClassVar[tuple[str, ...]]

    @classmethod
    def from_config(cls, config: RunConfig) -> Self:
        """Build the rule of a run."""
        ...

    def place(self, round_number: int, clients: Sequence[ClientDescription]) -> list[Placement]:
        """Return one placement a client; ``clients`` are sorted by partition id, rounds count from 1.

        Raises
        ------
        InputError
            If a client's capacity admits no placement. Round 1 is placed with a client of each capacity before
            anything starts.
        """
        ...


def whole_model(widths: Sequence[int]) -> Placement:
    """Return the placement that holds every unit, unscaled."""
    return Placement(0, prefix(widths, 1.0), (1.0,) * (len(widths) + 1))


def prefix(widths: Sequence[int], share: float) -> SubnetAssignment:
    """Return the subnet of each layer's first units, a share of them."""
    return SubnetAssignment(tuple(np.arange(held_units(width, share), dtype=np.int64) for width in widths))


def held_units(width: int, share: float) -> int:
    """Return ⌈share · width⌉: how many units of a layer a client of this capacity holds at most; at least one."""
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


def check_layers(widths: Sequence[int], method: str) -> None:
    """Refuse to cut the hidden layers of a linear classifier, which has none.

    Raises
    ------
    InputError
        Naming what cannot be done.
    """
    if not widths:
        raise InputError(
            f"hidden-widths = 'none' leaves {method} no layer to cut; expected a hidden layer, or strategy = 'fedavg'"
        )


def check_capacity(client: ClientDescription, sizes: Sequence[int], widths: Sequence[int], method: str) -> None:
    """Refuse a client that cannot hold so many units of each hidden layer.

    Raises
    ------
    InputError
        Naming the client, its capacity, and what would do.
    """
    for layer, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        if size > held_units(width, client.capacity):
            raise InputError(
                f"client {client.partition_id}: capacity = {client.capacity:g} is too small for {method}, which has "
                f"it train {size} of the {width} units of hidden layer {layer}; expected {size / width:.4g} or more"
            )
