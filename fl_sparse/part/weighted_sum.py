"""The weighted sum of one parameter over clients that hold some of its coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.model.parameters import ParameterSpec, Shape
from fl_sparse.part.factored import FactoredSum, FactoredWeight
from fl_sparse.part.part import Index, Mask, Part, Units, placed
from fl_sparse.threads import in_threads

Key = tuple[bytes | None, ...]
"""The bytes of the units along each dimension and of the mask; None for all units, or no mask."""

CHUNK = 1 << 14
"""Values averaged at a time: their float64 sums stay in the processor's cache."""


@dataclass(frozen=True)
class Place:
    """Where a part's values of a parameter belong in the whole.

    Parameters
    ----------
    index
        Units along each dimension of the parameter's view, None where all are held.
    shape, view, whole
        The parameter's shape and view in the part, and the whole parameter's view.
    mask
        bool (view): which of the part's coordinates are alive; None if all are.
    key
        Tells places apart.
    """

    index: Index = field(repr=False)
    shape: Shape
    view: Shape
    whole: Shape
    mask: Mask | None = field(repr=False)
    key: Key = field(repr=False)

    @classmethod
    def of(cls, name: str, spec: ParameterSpec, part: Part) -> Place:
        """Return the place of a part's values of a parameter."""
        index, own = part.index(spec), part.of(spec)
        mask = part.masks[name].reshape(own.view) if name in part.masks else None
        key = tuple(None if units is None else units.tobytes() for units in index)
        return cls(index, own.shape, own.view, spec.view, mask, (*key, None if mask is None else mask.tobytes()))

    @property
    def slots(self) -> Any:
        """A NumPy index of the place in the whole parameter's view."""
        return placed(self.index, self.whole)


@dataclass(frozen=True)
class Holders:
    """The clients that hold the same coordinates of a parameter."""

    place: Place
    values: list[NDArray[np.float32] | FactoredWeight] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)


class _Group:
    """The weighted sum over clients that hold the same coordinates; ``holders`` tells which coordinates.

    Factored weights that begin with the same matrix as the first are summed by their factors.
    """

    def __init__(self, holders: Holders) -> None:
        self.holders = holders
        self.weight = 0.0
        self._total: NDArray[np.float64] | None = None
        self._lone: tuple[NDArray[np.float32], float] | None = None
        self._factors: FactoredSum | None = None

    def add(self, holders: Holders) -> None:
        """Add values; threads divide the coordinates, which changes no bit."""
        # Add one by one: the bits are then the same however values are divided over calls.
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
            # Hold a single client's array as it is: it is the mean, as often in IST, and a float64 sum is saved.
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
        """Copy what still refers to the added values, so that their memory can be freed."""
        if self._factors is not None:
            self._factors.settle()
        if self._lone is not None:
            self._lone = self._lone[0].copy(), self._lone[1]

    @property
    def lone(self) -> NDArray[np.float32] | None:
        """The array of the only client, which is the mean; None if there are more."""
        return self._lone[0] if self._lone is not None and self._total is None and self._factors is None else None

    def mean(self) -> NDArray[np.floating[Any]]:
        """Return the values' weighted mean; this uses up the sum."""
        if (lone := self.lone) is not None:
            return lone
        if self._total is None and self._lone is None and self._factors is not None:
            factors, self._factors = self._factors, None
            return factors.mean()
        total = self.total()
        return np.divide(total, self.weight, out=total)

    def total(self) -> NDArray[np.float64]:
        """Return the values' weighted sum; this uses it up."""
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
    """Add weighted values to a total chunk by chunk; if ``begins``, the first values replace the total's."""
    scratch = np.empty(min(CHUNK, total.size))
    for start in range(0, total.size, CHUNK):
        running = total[start : start + CHUNK]
        for number, (source, share) in enumerate(zip(sources, weights, strict=True)):
            first = begins and number == 0
            term = running if first else scratch[: len(running)]
            # Assign, then multiply in place: this is faster than one multiplication from float32 to float64.
            term[...] = source[start : start + CHUNK]
            if share != 1.0:
                np.multiply(term, share, out=term)
            if not first:
                np.add(running, term, out=running)


class WeightedSum:
    """The weighted sum of one parameter: one sum for each set of coordinates, while these are disjoint."""

    def __init__(self, spec: ParameterSpec) -> None:
        self._spec = spec
        self._groups: dict[Key, _Group] = {}
        self._overlap: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def add(self, holders: Mapping[Key, Holders]) -> None:
        """Add clients' values; ``holders`` are by the key of their place."""
        places = {key: group.holders.place for key, group in self._groups.items()}
        places |= {key: held.place for key, held in holders.items()}
        if self._overlap is None and _apart(list(places.values())):
            for key, held in holders.items():
                self._groups.setdefault(key, _Group(Holders(held.place))).add(held)
            return
        total, weight = self._overlap or self._overlapped()
        for held in holders.values():
            slots, mask = held.place.slots, held.place.mask
            for values, share in zip(held.values, held.weights, strict=True):
                terms = np.multiply(np.asarray(values).reshape(held.place.view), share, dtype=np.float64)
                if mask is None:
                    total[slots] += terms
                    weight[slots] += share
                else:
                    # Add -0.0 where a coordinate is dead: +0.0 would turn -0.0 into 0.0.
                    total[slots] += np.where(mask, terms, -0.0)
                    weight[slots] += np.where(mask, share, 0.0)
        self._overlap = total, weight

    def settle(self) -> None:
        """Copy what still refers to added values: as views they would hold whole stacks in memory."""
        for group in self._groups.values():
            group.settle()

    def mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the parameter's next values; ``values`` itself if no client held any."""
        if self._overlap is not None:
            total, weight = self._overlap
            covered = weight > 0
            merged = values.copy()
            np.divide(total, weight, out=total, where=covered)
            np.copyto(merged.reshape(self._spec.view), total, where=covered, casting="same_kind")
            return merged
        if not self._groups:
            return values
        groups = list(self._groups.values())
        if all(units is None for units in groups[0].holders.place.index):
            # Copy the array of an only client: it is the mean itself.
            shared = groups[0].lone is not None
            return groups[0].mean().astype(np.float32, copy=shared)
        merged = values.copy()
        target = merged.reshape(self._spec.view)
        for group in groups:
            place = group.holders.place
            target[place.slots] = group.mean().reshape(place.view)
        return merged

    def covered(self) -> Mask | None:
        """Return where some client held the parameter, None if everywhere."""
        if self._overlap is not None:
            covered = self._overlap[1] > 0
        else:
            covered = np.zeros(self._spec.view, dtype=np.bool_)
            for group in self._groups.values():
                covered[group.holders.place.slots] = True
        return None if covered.all() else covered.reshape(self._spec.shape)

    def _overlapped(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sums and weights of the whole parameter, from the groups so far."""
        # Start from -0.0: +0.0 would turn a first term of -0.0 into 0.0.
        total, weight = np.full(self._spec.view, -0.0), np.zeros(self._spec.view)
        for group in self._groups.values():
            place = group.holders.place
            total[place.slots] = group.total().reshape(place.view)
            weight[place.slots] = group.weight
        self._groups = {}
        return total, weight


def _apart(places: Sequence[Place]) -> bool:
    """Tell whether no coordinate belongs to two places: there is one place, or units are disjoint along a dimension.

    Places with a mask count as overlapping: a coordinate that is dead in a client's part gets none of its weight.
    """
    if any(place.mask is not None for place in places):
        return False
    if len(places) <= 1:
        return True
    for units in zip(*(place.index for place in places), strict=True):
        held: list[Units] = [own for own in units if own is not None]
        if len(held) == len(units) and (np.bincount(np.concatenate(held)) <= 1).all():
            return True
    return False
