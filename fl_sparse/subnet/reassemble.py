"""Put subnet updates back together: θ_j ← Σ_k w_k θ_kj / Σ_k w_k over the clients k that hold coordinate j."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.subnet.assignment import SubnetAssignment, Units

Parameters = Mapping[str, NDArray[np.float32]]
Mask = NDArray[np.bool_]

OUTPUT_NAMES = ("output.weight", "output.bias")
CHUNK = 1 << 14
"""Values averaged at a time: their float64 sums stay in the processor's cache."""
PENDING_BYTES = 64 * 2**20
"""Updates that are held before they are added up: enough to stay in the cache, however many clients there are."""


@dataclass(frozen=True)
class SubnetUpdate:
    """A client's trained subnet: the units it holds, its parameters, and the weight w_k of its say (its examples).

    ``outputs``, int64, sorted, names the output units that the client holds: its values of other units' weights and
    biases do not count. None means all.
    """

    assignment: SubnetAssignment = field(repr=False)
    parameters: Parameters = field(repr=False)
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
        self._sums = {name: _Sum(values.shape) for name, values in parameters.items()}
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
class _Holders:
    """The clients that hold the same coordinates of a parameter."""

    index: tuple[Units | None, ...]
    values: list[NDArray[np.float32]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    @property
    def place(self) -> Any:
        """Where in the parameter: an index of the product of the axes' units."""
        held = [units for units in self.index if units is not None]
        if len(held) == len(self.index):
            return np.ix_(*held)
        return tuple(slice(None) if units is None else units for units in self.index)


def _holders(
    name: str, shape: tuple[int, ...], updates: Sequence[SubnetUpdate]
) -> dict[tuple[bytes | None, ...], _Holders]:
    groups: dict[tuple[bytes | None, ...], _Holders] = {}
    for update in updates:
        index = tuple(
            None if units is None or len(units) == size else units
            for units, size in zip(update.assignment.index(name), shape, strict=True)
        )
        expected = tuple(size if units is None else len(units) for units, size in zip(index, shape, strict=True))
        values = update.parameters[name]
        if values.shape != expected:
            raise ValueError(f"{name} is of shape {values.shape}; its subnet's is {expected}")
        if name in OUTPUT_NAMES and update.outputs is not None and len(update.outputs) != shape[0]:
            index, values = (update.outputs, *index[1:]), values[update.outputs]
        key = tuple(None if units is None else units.tobytes() for units in index)
        group = groups.setdefault(key, _Holders(index))
        group.values.append(values)
        group.weights.append(float(update.weight))
    return groups


class _Group:
    """The weighted sum of the values of clients that hold the same coordinates, which ``holders`` tells."""

    def __init__(self, holders: _Holders) -> None:
        self.holders = holders
        self.total: NDArray[np.float64] | None = None
        self.weight = 0.0

    def add(self, holders: _Holders) -> None:
        """Add values, a chunk of all of them after the other."""
        sources = [np.ascontiguousarray(held).reshape(-1) for held in holders.values]
        running = self.total
        begins = running is None
        if running is None:
            running = self.total = np.empty(holders.values[0].shape)
        flat = running.reshape(-1)
        scratch = np.empty(min(CHUNK, flat.size))
        for start in range(0, flat.size, CHUNK):
            place = slice(start, start + CHUNK)
            for number, (source, share) in enumerate(zip(sources, holders.weights, strict=True)):
                first = begins and number == 0
                term = flat[place] if first else scratch[: flat[place].size]
                # Widening by assignment and then multiplying in place is faster than one multiplication that widens.
                term[...] = source[place]
                if share != 1.0:
                    np.multiply(term, share, out=term)
                if not first:
                    np.add(flat[place], term, out=flat[place])
        # One by one, as if all came at once: how they were divided over calls must not show in a bit.
        for share in holders.weights:
            self.weight += share

    def mean(self) -> NDArray[np.float64]:
        """Return the values' weighted mean; the sum is used up."""
        if self.total is None:
            raise ValueError("the mean of no values")
        total, self.total = self.total, None
        return np.divide(total, self.weight, out=total)


class _Sum:
    """The weighted sum of one parameter's updates: a group for each set of coordinates, while the sets are disjoint."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._groups: dict[tuple[bytes | None, ...], _Group] = {}
        self._overlap: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def add(self, holders: Mapping[tuple[bytes | None, ...], _Holders]) -> None:
        """Add what some clients hold, by the bytes of their units."""
        indices = {key: group.holders.index for key, group in self._groups.items()}
        indices |= {key: held.index for key, held in holders.items()}
        if self._overlap is None and (len(indices) <= 1 or _disjoint(list(indices.values()))):
            for key, held in holders.items():
                self._groups.setdefault(key, _Group(_Holders(held.index))).add(held)
            return
        total, weight = self._overlap or self._overlapped()
        for held in holders.values():
            for values, share in zip(held.values, held.weights, strict=True):
                total[held.place] += np.multiply(values, share, dtype=np.float64)
                weight[held.place] += share
        self._overlap = total, weight

    def mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the parameter's next values, the array given if nobody held any."""
        if self._overlap is not None:
            total, weight = self._overlap
            covered = weight > 0
            merged = values.copy()
            np.divide(total, weight, out=total, where=covered)
            np.copyto(merged, total, where=covered, casting="same_kind")
            return merged
        if not self._groups:
            return values
        groups = list(self._groups.values())
        if all(units is None for units in groups[0].holders.index):
            return groups[0].mean().astype(np.float32)
        merged = values.copy()
        for group in groups:
            merged[group.holders.place] = group.mean()
        return merged

    def covered(self) -> Mask | None:
        """Return where some client held the parameter, None if everywhere."""
        if self._overlap is not None:
            covered = self._overlap[1] > 0
        else:
            covered = np.zeros(self._shape, dtype=np.bool_)
            for group in self._groups.values():
                covered[group.holders.place] = True
        return None if covered.all() else covered

    def _overlapped(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sums and weights of the whole parameter, from those of the groups so far."""
        # Minus zero is the sum's neutral element: it leaves any first term as it is, minus zero included.
        total, weight = np.full(self._shape, -0.0), np.zeros(self._shape)
        for group in self._groups.values():
            total[group.holders.place] = group.total
            weight[group.holders.place] = group.weight
        self._groups = {}
        return total, weight


class _Covered(Mapping[str, "Mask | None"]):
    """Where each parameter was held, worked out for those that are asked for: plain averaging asks for none."""

    def __init__(self, sums: Mapping[str, _Sum]) -> None:
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


def _disjoint(indices: Sequence[tuple[Units | None, ...]]) -> bool:
    """Tell whether the groups' units are disjoint along some axis, so that no coordinate belongs to two groups."""
    for axis in zip(*indices, strict=True):
        held = [units for units in axis if units is not None]
        if len(held) == len(axis) and (np.bincount(np.concatenate(held)) <= 1).all():
            return True
    return False
