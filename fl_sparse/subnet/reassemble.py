"""Put subnet updates back together: θ_j ← Σ_k w_k θ_kj / Σ_k w_k over the clients k that hold coordinate j."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.subnet.assignment import SubnetAssignment, Units

Parameters = Mapping[str, NDArray[np.float32]]
Mask = NDArray[np.bool_]

CHUNK = 1 << 14
"""Values averaged at a time: their float64 sums stay in the processor's cache."""


@dataclass(frozen=True)
class SubnetUpdate:
    """A client's trained subnet: the units it holds, its parameters, and the weight w_k of its say (its examples)."""

    assignment: SubnetAssignment = field(repr=False)
    parameters: Parameters = field(repr=False)
    weight: float


def reassemble(
    parameters: Parameters, updates: Sequence[SubnetUpdate]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Mask | None]]:
    """Return the next whole model, and which of its coordinates some client held.

    A coordinate that nobody holds keeps its value, one that a single client holds takes that client's, and equal
    values give the same value again, all bit for bit. Sums are in float64, in the order of the updates. When each
    hidden layer is partitioned into S > 1 parts, every parameter has an owner except the off-diagonal blocks of the
    hidden weights (rows of one part, columns of another): these belong to no client in that round.

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
    for update in updates:
        if not update.weight > 0:
            raise ValueError(f"an update's weight is {update.weight}; expected a positive number")
    merged: dict[str, NDArray[np.float32]] = {}
    covered: dict[str, Mask | None] = {}
    for name, values in parameters.items():
        merged[name], covered[name] = _merge(values, _holders(name, values.shape, updates))
    return merged, covered


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


def _holders(name: str, shape: tuple[int, ...], updates: Sequence[SubnetUpdate]) -> list[_Holders]:
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
        key = tuple(None if units is None else units.tobytes() for units in index)
        group = groups.setdefault(key, _Holders(index))
        group.values.append(values)
        group.weights.append(float(update.weight))
    return list(groups.values())


def _merge(values: NDArray[np.float32], groups: Sequence[_Holders]) -> tuple[NDArray[np.float32], Mask | None]:
    if not groups:
        return values, np.zeros(values.shape, dtype=np.bool_)
    if len(groups) == 1 and all(units is None for units in groups[0].index):
        return _average(groups[0].values, groups[0].weights), None
    covered = np.zeros(values.shape, dtype=np.bool_)
    for group in groups:
        covered[group.place] = True
    merged = values.copy()
    if _disjoint([group.index for group in groups]):
        for group in groups:
            merged[group.place] = _average(group.values, group.weights)
    else:
        np.copyto(merged, _overlapping(values.shape, groups, covered), where=covered, casting="same_kind")
    return merged, None if covered.all() else covered


def _disjoint(indices: Sequence[tuple[Units | None, ...]]) -> bool:
    """Tell whether the groups' units are disjoint along some axis, so that no coordinate belongs to two groups."""
    for axis in zip(*indices, strict=True):
        held = [units for units in axis if units is not None]
        if len(held) == len(axis):
            joined = np.concatenate(held)
            if len(np.unique(joined)) == len(joined):
                return True
    return False


def _overlapping(shape: tuple[int, ...], groups: Sequence[_Holders], covered: Mask) -> NDArray[np.float64]:
    """Return the weighted means of groups that overlap in any way; arbitrary where nothing is covered."""
    # Minus zero is the sum's neutral element: it leaves any first term as it is, minus zero included.
    total = np.full(shape, -0.0)
    weight = np.zeros(shape)
    for group in groups:
        for values, share in zip(group.values, group.weights, strict=True):
            total[group.place] += np.multiply(values, share, dtype=np.float64)
        weight[group.place] += sum(group.weights)
    np.divide(total, weight, out=total, where=covered)
    return total


def _average(values: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    """Return the weighted mean of arrays of one shape."""
    if len(values) == 1:
        return values[0].copy()
    mean = np.empty(values[0].shape, dtype=np.float32)
    flat, sources = mean.reshape(-1), [np.ascontiguousarray(held).reshape(-1) for held in values]
    total = float(sum(weights))
    sums, term = np.empty(min(CHUNK, flat.size)), np.empty(min(CHUNK, flat.size))
    for start in range(0, flat.size, CHUNK):
        part = slice(start, min(start + CHUNK, flat.size))
        running, one = sums[: part.stop - start], term[: part.stop - start]
        np.multiply(sources[0][part], weights[0], out=running, dtype=np.float64)
        for source, share in zip(sources[1:], weights[1:], strict=True):
            # Widening by assignment and then multiplying in place is faster than one multiplication that widens.
            one[...] = source[part]
            np.multiply(one, share, out=one)
            np.add(running, one, out=running)
        np.divide(running, total, out=running)
        flat[part] = running
    return mean
