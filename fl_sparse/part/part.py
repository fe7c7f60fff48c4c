"""A part of a model: which units it holds along each axis, and which of their coordinates are alive.

Only this file knows how values are cut out of the whole and put back, which shapes result, where two parts overlap, and
how parts are told apart. Laws (`tests/fl_sparse/part`): cutting after putting back changes nothing; nothing outside a
part changes, bit for bit; parts with other units or masks have other digests; an axis that is not named is held whole.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sparse.model.parameters import Model, ParameterSpec, Shape

Units = NDArray[np.int64]
Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Index = tuple[Units | None, ...]

BYTES_A_VALUE = 4


@dataclass(frozen=True, eq=False)
class Part:
    """Units along axes, and masks of parameters.

    Parameters
    ----------
    units
        Axis -> the distinct unit numbers held, int64, sorted. An axis that is not named is held whole.
    masks
        Parameter -> bool, of the parameter's shape in the part, True where a coordinate is alive. A parameter that is
        not named is alive everywhere.

    Raises
    ------
    ValueError
        If an axis's units are negative, repeated or not sorted.
    """

    units: Mapping[str, Units] = field(default_factory=dict, repr=False)
    masks: Mapping[str, Mask] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for axis, units in self.units.items():
            if units.ndim != 1 or (len(units) and (units[0] < 0 or not (np.diff(units) > 0).all())):
                raise ValueError(f"the units of axis {axis} must be distinct, sorted and not negative")

    @property
    def digest(self) -> bytes:
        """16 bytes that differ between parts with different units or masks."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> bytes:
        written = hashlib.blake2b(digest_size=16)
        for kind in (self.units, self.masks):
            written.update(len(kind).to_bytes(8, "little"))
            for name in sorted(kind):
                values: NDArray[Any] = np.ascontiguousarray(kind[name])
                sizes = (len(name.encode()), values.ndim, *values.shape)
                written.update(b"".join(size.to_bytes(8, "little") for size in sizes) + name.encode())
                written.update(values.astype("<i8").tobytes() if kind is self.units else np.packbits(values).tobytes())
        return written.digest()

    def index(self, spec: ParameterSpec) -> Index:
        """Return the units held along each dimension of a parameter's view, None where it is held whole."""
        return self._held(spec)[0]

    def of(self, spec: ParameterSpec) -> ParameterSpec:
        """Return a parameter's specification within the part: the same in smaller sizes."""
        return self._held(spec)[1]

    def _held(self, spec: ParameterSpec) -> tuple[Index, ParameterSpec]:
        # A round asks for each parameter several times: the answer is kept.
        found = self._known.get(spec)
        if found is None:
            index: list[Units | None] = []
            for axis, size in zip(spec.axes, spec.view, strict=True):
                units = None if axis is None else self.units.get(axis)
                index.append(None if units is None or len(units) == size else units)
            view = tuple(size if own is None else len(own) for own, size in zip(index, spec.view, strict=True))
            held = spec if view == spec.view else replace(spec, shape=spec.merged(view), view=view)
            found = self._known[spec] = tuple(index), held
        return found

    @functools.cached_property
    def _known(self) -> dict[ParameterSpec, tuple[Index, ParameterSpec]]:
        return {}

    def model(self, model: Model) -> Model:
        """Return the model in the sizes of the part."""
        return {name: self.of(spec) for name, spec in model.items()}

    def cut(self, model: Model, values: Mapping[str, Values]) -> dict[str, Values]:
        """Return the part's values as contiguous float32 arrays, zero where a coordinate is dead.

        Do not write to the arrays: a parameter that is held whole is not copied.
        """
        return {name: self._cut(name, spec, values[name]) for name, spec in model.items() if name in values}

    def _cut(self, name: str, spec: ParameterSpec, values: Values) -> Values:
        viewed = values.reshape(spec.view) if spec.view != spec.shape else values
        # Take rows first: they move as blocks, and fewer are left to pick columns from.
        for dimension, units in enumerate(self.index(spec)):
            if units is not None:
                viewed = np.take(viewed, units, axis=dimension)
        held = np.ascontiguousarray(viewed, dtype=np.float32)
        if spec.view != spec.shape:
            held = held.reshape(self.of(spec).shape)
        return np.where(self.masks[name], held, np.float32(0)) if name in self.masks else held

    def scatter(self, model: Model, values: Mapping[str, Values], held: Mapping[str, Values]) -> dict[str, Values]:
        """Return the whole model's values with the part's values in their places; the arguments are not changed."""
        return {name: self._scattered(name, spec, values[name], held[name]) for name, spec in model.items()}

    def _scattered(self, name: str, spec: ParameterSpec, values: Values, held: Values) -> Values:
        merged = np.array(values, dtype=np.float32)
        target, place, own = (
            merged.reshape(spec.view),
            placed(self.index(spec), spec.view),
            held.reshape(self.of(spec).view),
        )
        if name in self.masks:
            own = np.where(self.masks[name].reshape(own.shape), own, target[place])
        target[place] = own
        return merged

    def size(self, model: Model) -> int:
        """Return how many coordinates of the part are alive."""
        return sum(
            int(self.masks[name].sum()) if name in self.masks else math.prod(self.of(spec).shape)
            for name, spec in model.items()
        )

    def nbytes(self, model: Model) -> int:
        """Return the bytes of the part's values in float32."""
        return BYTES_A_VALUE * self.size(model)


WHOLE = Part()
"""All of a model."""


def placed(index: Index, view: Shape) -> Any:
    """Return a NumPy index of the held units, along all dimensions, for an array of shape ``view``."""
    lists = [units for units in index if units is not None]
    if len(lists) > 1:
        # Write out a dimension that is held whole: NumPy's index lists do not mix with slices.
        written = (np.arange(size) if units is None else units for units, size in zip(index, view, strict=True))
        return np.ix_(*written)
    return tuple(slice(None) if units is None else units for units in index)


def alive(part: Part, name: str, spec: ParameterSpec) -> Mask:
    """Return where a part holds a whole parameter's coordinates alive, bool of the parameter's view."""
    held = np.zeros(spec.view, dtype=np.bool_)
    own = part.masks.get(name)
    held[placed(part.index(spec), spec.view)] = True if own is None else own.reshape(part.of(spec).view)
    return held


def overlap(model: Model, one: Part, other: Part) -> Part:
    """Return the part whose coordinates both parts hold alive; an axis without common units has none."""
    units = dict(one.units)
    for axis, own in other.units.items():
        units[axis] = np.intersect1d(units[axis], own, assume_unique=True) if axis in units else own
    common = Part(units)
    masks = {}
    for name, spec in model.items():
        if name in one.masks or name in other.masks:
            both = alive(one, name, spec) & alive(other, name, spec)
            masks[name] = both[placed(common.index(spec), spec.view)].reshape(common.of(spec).shape)
    return Part(units, masks)
