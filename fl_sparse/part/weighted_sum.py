"""The weighted sum of one parameter over clients that hold some of its coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.part.assignment import Units
from fl_sparse.part.factored import FactoredSum, FactoredWeight
from fl_sparse.threads import in_threads

Mask = NDArray[np.bool_]
Key = tuple[bytes | None, ...]
"""The bytes of the units along each axis, None where all are held."""

CHUNK = 1 << 14
"""Values averaged at a time: their float64 sums stay in the processor's cache."""


@dataclass(frozen=True)
class Holders:
    """The clients that hold the same coordinates of a parameter."""

    index: tuple[Units | None, ...]
    values: list[NDArray[np.float32] | FactoredWeight] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    @property
    def place(self) -> Any:
        """Where in the parameter: an index of the product of the axes' units."""
        held = [units for units in self.index if units is not None]
        if len(held) == len(self.index):
            return np.ix_(*held)
        return tuple(slice(None) if units is None else units for units in self.index)


class _Group:
    """The weighted sum of the values of clients that hold the same coordinates, which ``holders`` tells.

    Factored weights that begin with the same matrix as the group's first are summed by their factors.
    """

    def __init__(self, holders: Holders) -> None:
        self.holders = holders
        self.weight = 0.0
        self._total: NDArray[np.float64] | None = None
        self._lone: tuple[NDArray[np.float32], float] | None = None
        self._factors: FactoredSum | None = None

    def add(self, holders: Holders) -> None:
        """Add values; coordinates are divided over threads, which changes no bit."""
        # One by one, as if all came at once: how they were divided over calls must not show in a bit.
        dense: list[tuple[NDArray[np.float32], float]] = []
        for values, share in zip(holders.values, holders.weights, strict=True):
            if isinstance(values, FactoredWeight):
                if self._factors is None:
                    self._factors = FactoredSum(values.received, values.ops)
                if self._factors.received is values.received:
                    self._factors.add(values, share)
                    continue
            dense.append((np.asarray(values), share))
        if dense:
            self._add_dense([values for values, _ in dense], [share for _, share in dense])
        for share in holders.weights:
            self.weight += share

    def _add_dense(self, arrays: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> None:
        if self._lone is not None:
            arrays, weights = [self._lone[0], *arrays], [self._lone[1], *weights]
            self._lone = None
        elif self._total is None and len(arrays) == 1:
            # Where each subnet has one client, as often in Independent Subnet Training, there is nothing to add up.
            self._lone = arrays[0], weights[0]
            return
        sources = [np.ascontiguousarray(values).reshape(-1) for values in arrays]
        begins = self._total is None
        if self._total is None:
            self._total = np.empty(arrays[0].shape)
        flat = self._total.reshape(-1)

        def part(some: slice) -> None:
            _add_chunks(flat[some], [source[some] for source in sources], weights, begins=begins)

        in_threads(part, flat.size, work=flat.size * len(sources))

    def settle(self) -> None:
        """Keep nothing of the values' own memory."""
        if self._factors is not None:
            self._factors.settle()
        if self._lone is not None:
            self._lone = self._lone[0].copy(), self._lone[1]

    @property
    def lone(self) -> NDArray[np.float32] | None:
        """The single client's array that is the mean, if there is only one."""
        return self._lone[0] if self._lone is not None and self._total is None and self._factors is None else None

    def mean(self) -> NDArray[np.floating[Any]]:
        """Return the values' weighted mean; the sum is used up."""
        if (lone := self.lone) is not None:
            return lone
        if self._total is None and self._lone is None and self._factors is not None:
            factors, self._factors = self._factors, None
            return factors.mean()
        total = self.total()
        return np.divide(total, self.weight, out=total)

    def total(self) -> NDArray[np.float64]:
        """Return the values' weighted sum, which is used up."""
        total, factors = self._total, self._factors
        if self._lone is not None:
            values, share = self._lone
            total = np.multiply(values, share, dtype=np.float64)
        self._total = self._factors = self._lone = None
        if factors is not None:
            total = factors.total() if total is None else np.add(total, factors.total(), out=total)
        if total is None:
            raise ValueError("the sum of no values")
        return total


def _add_chunks(
    total: NDArray[np.float64], sources: Sequence[NDArray[np.float32]], weights: Sequence[float], *, begins: bool
) -> None:
    """Add weighted values to a total, or begin it with the first, a chunk of all of them after the other."""
    scratch = np.empty(min(CHUNK, total.size))
    for start in range(0, total.size, CHUNK):
        running = total[start : start + CHUNK]
        for number, (source, share) in enumerate(zip(sources, weights, strict=True)):
            first = begins and number == 0
            term = running if first else scratch[: len(running)]
            # Widening by assignment and then multiplying in place is faster than one multiplication that widens.
            term[...] = source[start : start + CHUNK]
            if share != 1.0:
                np.multiply(term, share, out=term)
            if not first:
                np.add(running, term, out=running)


class WeightedSum:
    """The weighted sum of one parameter's updates: a group for each set of coordinates, while the sets are disjoint."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._groups: dict[Key, _Group] = {}
        self._overlap: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def add(self, holders: Mapping[Key, Holders]) -> None:
        """Add what some clients hold, by the bytes of their units."""
        indices = {key: group.holders.index for key, group in self._groups.items()}
        indices |= {key: held.index for key, held in holders.items()}
        if self._overlap is None and (len(indices) <= 1 or _disjoint(list(indices.values()))):
            for key, held in holders.items():
                self._groups.setdefault(key, _Group(Holders(held.index))).add(held)
            return
        total, weight = self._overlap or self._overlapped()
        for held in holders.values():
            for values, share in zip(held.values, held.weights, strict=True):
                total[held.place] += np.multiply(np.asarray(values), share, dtype=np.float64)
                weight[held.place] += share
        self._overlap = total, weight

    def settle(self) -> None:
        """Keep nothing of the memory of what was added, which may be a part of a whole stack's."""
        for group in self._groups.values():
            group.settle()

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
            shared = groups[0].lone is not None
            return groups[0].mean().astype(np.float32, copy=shared)
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
            total[group.holders.place] = group.total()
            weight[group.holders.place] = group.weight
        self._groups = {}
        return total, weight


def _disjoint(indices: Sequence[tuple[Units | None, ...]]) -> bool:
    """Tell whether the groups' units are disjoint along some axis, so that no coordinate belongs to two groups."""
    for axis in zip(*indices, strict=True):
        held = [units for units in axis if units is not None]
        if len(held) == len(axis) and (np.bincount(np.concatenate(held)) <= 1).all():
            return True
    return False
