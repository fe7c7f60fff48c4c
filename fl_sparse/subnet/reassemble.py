"""Put subnet updates back together: θ_j ← Σ_k w_k θ_kj / Σ_k w_k over the clients k that hold coordinate j."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_sparse.subnet.assignment import SubnetAssignment

CHUNK = 1 << 14
"""Values averaged at a time: their float64 sums stay in the processor's cache."""


@dataclass(frozen=True)
class SubnetUpdate:
    """A client's trained subnet, and the weight of its say (its number of examples)."""

    assignment: SubnetAssignment = field(repr=False)
    parameters: Mapping[str, NDArray[np.float32]] = field(repr=False)
    weight: float


def reassemble(
    parameters: Mapping[str, NDArray[np.float32]], updates: Sequence[SubnetUpdate]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.bool_] | None]]:
    """Return the next global parameters, and which coordinates were covered (None = all of them).

    A coordinate that nobody holds keeps its value, and one that a single client holds takes that client's, bit for
    bit. Where several hold it, sums are in float64: values that are equal give the same value again.

    Raises
    ------
    ValueError
        If a weight is not positive, or an update's shapes are not its assignment's.
    """
    for update in updates:
        if not update.weight > 0:
            raise ValueError(f"an update's weight is {update.weight}; expected a positive number")
    merged: dict[str, NDArray[np.float32]] = {}
    covered: dict[str, NDArray[np.bool_] | None] = {}
    for name, values in parameters.items():
        parts = [(_indices(values, update, name), update.parameters[name], update.weight) for update in updates]
        merged[name], covered[name] = _merge(values, parts)
    return merged, covered


Part = tuple[tuple[NDArray[np.int64] | None, ...], NDArray[np.float32], float]


def _indices(
    values: NDArray[np.float32], update: SubnetUpdate, name: str
) -> tuple[NDArray[np.int64] | None, ...]:
    index = update.assignment.index(name)
    whole = tuple(
        None if units is None or len(units) == size else units for units, size in zip(index, values.shape, strict=True)
    )
    expected = tuple(
        size if units is None else len(units) for units, size in zip(whole, values.shape, strict=True)
    )
    if update.parameters[name].shape != expected:
        raise ValueError(f"{name} is of shape {update.parameters[name].shape}; its subnet's is {expected}")
    return whole


def _merge(
    values: NDArray[np.float32], parts: Sequence[Part]
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    if not parts:
        return values, np.zeros(values.shape, dtype=np.bool_)
    if all(all(units is None for units in index) for index, _, _ in parts):
        return _average([part for _, part, _ in parts], [weight for _, _, weight in parts]), None
    groups: list[tuple[tuple[NDArray[np.int64] | None, ...], list[NDArray[np.float32]], list[float]]] = []
    for index, part, weight in parts:
        for known, held, weights in groups:
            if _same(known, index):
                held.append(part)
                weights.append(weight)
                break
        else:
            groups.append((index, [part], [weight]))
    holders = np.zeros(values.shape, dtype=np.int32)
    for index, _, _ in groups:
        holders[_place(index, values.shape)] += 1
    if holders.max() <= 1:
        merged = values.copy()
        for index, held, weights in groups:
            merged[_place(index, values.shape)] = _average(held, weights)
        return merged, holders > 0
    return _overlapping(values, parts, holders)


def _overlapping(
    values: NDArray[np.float32], parts: Sequence[Part], holders: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Average parts that overlap in any way, coordinate by coordinate."""
    total = np.zeros(values.shape, dtype=np.float64)
    weights = np.zeros(values.shape, dtype=np.float64)
    for index, part, weight in parts:
        place = _place(index, values.shape)
        total[place] += np.float64(weight) * part
        weights[place] += weight
    held = holders > 0
    merged = values.copy()
    np.divide(total, weights, out=total, where=held)
    merged[held] = total[held]
    return merged, held


def _average(parts: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    if len(parts) == 1:
        return parts[0].copy()
    merged = np.empty(parts[0].shape, dtype=np.float32)
    flat, total = merged.reshape(-1), float(sum(weights))
    sources = [np.ascontiguousarray(part).reshape(-1) for part in parts]
    sums = np.empty(min(CHUNK, flat.size), dtype=np.float64)
    product = np.empty_like(sums)
    for start in range(0, flat.size, CHUNK):
        stop = min(start + CHUNK, flat.size)
        running, one = sums[: stop - start], product[: stop - start]
        np.multiply(sources[0][start:stop], weights[0], out=running, dtype=np.float64)
        for source, weight in zip(sources[1:], weights[1:], strict=True):
            np.multiply(source[start:stop], weight, out=one, dtype=np.float64)
            running += one
        running /= total
        flat[start:stop] = running
    return merged


def _place(index: tuple[NDArray[np.int64] | None, ...], shape: tuple[int, ...]) -> tuple[NDArray[np.int64], ...]:
    filled = [np.arange(size) if units is None else units for units, size in zip(index, shape, strict=True)]
    return np.ix_(*filled)  # type: ignore[no-any-return]


def _same(left: tuple[NDArray[np.int64] | None, ...], right: tuple[NDArray[np.int64] | None, ...]) -> bool:
    return all(
        (one is None and other is None) or (one is not None and other is not None and np.array_equal(one, other))
        for one, other in zip(left, right, strict=True)
    )
