"""Put subnet updates back together: θ_j ← Σ_k w_k θ_kj / Σ_k w_k over the clients k that hold coordinate j."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fl_sparse.part.assignment import SubnetAssignment, Units
from fl_sparse.part.factored import FactoredWeight
from fl_sparse.part.weighted_sum import Holders, Key, Mask, WeightedSum

Parameters = Mapping[str, NDArray[np.float32]]

OUTPUT_NAMES = ("output.weight", "output.bias")
PENDING_BYTES = 64 * 2**20
"""Updates that are held before they are added up: enough to stay in the cache, however many clients there are."""


@dataclass(frozen=True)
class SubnetUpdate:
    """A client's trained subnet: the units it holds, its parameters, and the weight w_k of its say (its examples).

    ``outputs``, int64, sorted, names the output units that the client holds: its values of other units' weights and
    biases do not count. None means all.
    """

    assignment: SubnetAssignment = field(repr=False)
    parameters: Mapping[str, NDArray[np.float32] | FactoredWeight] = field(repr=False)
    weight: float
    outputs: Units | None = field(default=None, repr=False)


def reassemble(
    parameters: Parameters, updates: Sequence[SubnetUpdate]
) -> tuple[dict[str, NDArray[np.float32]], Mapping[str, Mask | None]]:
    """Return the next whole model, and which of its coordinates some client held.

    A coordinate that nobody holds keeps its value, one that a single client holds takes that client's, and equal
    values give the same value again, all bit for bit. Sums are in float64, in the order of the updates; where clients'
    units overlap in part, in the order of the first update with the same units. When each hidden layer is partitioned
    into S > 1 parts, every parameter has an owner except the off-diagonal blocks of the hidden weights (rows of one
    part, columns of another): these belong to no client in that round.

    Factored weights that begin with the same matrix are summed by their factors in float32: equal ones of several
    clients agree with their mean up to rounding.

    Parameters
    ----------
    parameters
        The whole model; not changed.
    updates
        The clients' subnets; values are finite.

    Returns
    -------
    parameters
        The next whole model. A parameter that nobody holds is the given array itself.
    covered
        A bool mask for each parameter, True where some client held the coordinate, or None where all were held.

    Raises
    ------
    ValueError
        If a weight is not positive, or an update's shapes are not its assignment's.
    """
    reassembly = Reassembly(parameters)
    for update in updates:
        reassembly.add(update)
    return reassembly.result()


class Reassembly:
    """`reassemble` for updates that come one by one: of any number, no more than some bytes are held.

    Where the clients' units are disjoint or equal along some axis, as in all methods whose clients share out or share
    the units, the result does not depend on that bound, bit for bit.

    Parameters
    ----------
    parameters
        The whole model; not changed.
    pending_bytes
        The bound: updates of more than so many bytes are added up before the next is taken.
    """

    def __init__(self, parameters: Parameters, pending_bytes: int = PENDING_BYTES) -> None:
        self._bound, self._ended = pending_bytes, False
        self._parameters = parameters
        self._sums = {name: WeightedSum(values.shape) for name, values in parameters.items()}
        self._pending: list[SubnetUpdate] = []
        self._pending_bytes = 0
        self._unit: float | None = None

    def add(self, update: SubnetUpdate) -> None:
        """Take the next update.

        Raises
        ------
        ValueError
            As `reassemble`; for shapes, here or in a later call.
        """
        if not update.weight > 0:
            raise ValueError(f"an update's weight is {update.weight}; expected a positive number")
        # A mean is the same in any unit of weight: in the first update's, clients with equal say need no multiplying.
        if self._unit is None:
            self._unit = update.weight
        self._pending.append(replace(update, weight=update.weight / self._unit))
        self._pending_bytes += sum(values.nbytes for values in update.parameters.values())
        if self._pending_bytes > self._bound:
            self._add_pending()
            for total in self._sums.values():
                total.settle()

    def result(self) -> tuple[dict[str, NDArray[np.float32]], Mapping[str, Mask | None]]:
        """Return what `reassemble` returns for all updates.

        Raises
        ------
        ValueError
            When called again: the sums are used up.
        """
        if self._ended:
            raise ValueError("the result has been taken")
        self._ended = True
        self._add_pending()
        merged = {name: self._sums[name].mean(values) for name, values in self._parameters.items()}
        return merged, _Covered(self._sums)

    def _add_pending(self) -> None:
        for name, values in self._parameters.items():
            self._sums[name].add(_holders(name, values.shape, self._pending))
        self._pending, self._pending_bytes = [], 0


@dataclass(frozen=True)
class _Place:
    """Where a subnet's part of a parameter belongs: units along each axis, None where all are held."""

    index: tuple[Units | None, ...]
    shape: tuple[int, ...]
    key: Key

    @classmethod
    def of(cls, units: tuple[Units | None, ...], shape: tuple[int, ...]) -> _Place:
        index = tuple(
            None if held is None or len(held) == size else held for held, size in zip(units, shape, strict=True)
        )
        own = tuple(size if held is None else len(held) for held, size in zip(index, shape, strict=True))
        return cls(index, own, tuple(None if held is None else held.tobytes() for held in index))


def _holders(name: str, shape: tuple[int, ...], updates: Sequence[SubnetUpdate]) -> dict[Key, Holders]:
    groups: dict[Key, Holders] = {}
    # Many clients have the very same assignment.
    places: dict[int, _Place] = {}
    for update in updates:
        place = places.get(id(update.assignment))
        if place is None:
            place = places[id(update.assignment)] = _Place.of(update.assignment.index(name), shape)
        values = update.parameters[name]
        if values.shape != place.shape:
            raise ValueError(f"{name} is of shape {values.shape}; its subnet's is {place.shape}")
        if name in OUTPUT_NAMES and update.outputs is not None and len(update.outputs) != shape[0]:
            values = np.asarray(values)[update.outputs]
            place = _Place.of((update.outputs, *place.index[1:]), shape)
        group = groups.setdefault(place.key, Holders(place.index))
        group.values.append(values)
        group.weights.append(float(update.weight))
    return groups


class _Covered(Mapping[str, "Mask | None"]):
    """Where each parameter was held, worked out for those that are asked for: plain averaging asks for none."""

    def __init__(self, sums: Mapping[str, WeightedSum]) -> None:
        self._sums = sums
        self._known: dict[str, Mask | None] = {}

    def __getitem__(self, name: str) -> Mask | None:
        if name not in self._known:
            self._known[name] = self._sums[name].covered()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums)

    def __len__(self) -> int:
        return len(self._sums)
