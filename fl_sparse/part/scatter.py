"""Put updates of parts back together: θ_j ← Σ_k w_k θ_kj / Σ_k w_k over the clients k that hold coordinate j."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fl_sparse.model.parameters import Model, ParameterSpec
from fl_sparse.part.factored import FactoredWeight
from fl_sparse.part.part import Mask, Part, Units, Values
from fl_sparse.part.weighted_sum import Holders, Key, Place, WeightedSum

Parameters = Mapping[str, Values]

PENDING_BYTES = 64 * 2**20
"""Bytes of updates that are held before they are added up, however many clients there are: they stay in the cache."""


@dataclass(frozen=True)
class PartUpdate:
    """A client's trained part: units and masks, trained parameters, and the weight w_k in the average."""

    part: Part = field(repr=False)
    parameters: Mapping[str, Values | FactoredWeight] = field(repr=False)
    weight: float

    def within(self, model: Model, axis: str, units: Units) -> PartUpdate:
        """Return the update of these units only of an axis that it holds whole."""
        own, fewer = self.part.model(model), Part({axis: units})
        cut = {name: spec for name, spec in own.items() if fewer.of(spec) != spec}
        values = {name: np.asarray(self.parameters[name]) for name in cut if name in self.parameters}
        parameters = {**self.parameters, **fewer.cut(cut, values)}
        alive = {name: mask.astype(np.float32) for name, mask in self.part.masks.items() if name in cut}
        masks = {name: mask.astype(np.bool_) for name, mask in fewer.cut(cut, alive).items()}
        part = Part({**self.part.units, axis: units}, {**self.part.masks, **masks})
        return PartUpdate(part, parameters, self.weight)


def reassemble(
    model: Model, parameters: Parameters, updates: Sequence[PartUpdate]
) -> tuple[dict[str, NDArray[np.float32]], Mapping[str, Mask | None]]:
    """Return the next whole model, and which of its coordinates some client held.

    Bit for bit: a coordinate that nobody holds alive does not change, a coordinate that a single client holds takes the
    client's value, and equal values give the same value. Sums are in float64, in the order of the updates; where
    clients' units overlap in part, in the order of the first update with the same units. If each hidden layer is
    partitioned into S > 1 subnets, only the off-diagonal blocks of the hidden weights (rows of one subnet, columns of
    another) have no owner in that round.

    Factored weights that begin with the same matrix are summed by their factors in float32: equal weights of several
    clients agree with their mean up to rounding.

    Parameters
    ----------
    model
        The parameters' shapes and axes.
    parameters
        The whole model's values; not changed.
    updates
        The clients' parts; values are finite.

    Returns
    -------
    parameters
        The next whole model. A parameter that nobody holds is the given array itself.
    covered
        A bool mask for each parameter, True where some client held the coordinate, or None where all were held.

    Raises
    ------
    ValueError
        If a weight is not positive, or an update's shapes are not its part's.
    """
    reassembly = Reassembly(model, parameters)
    for update in updates:
        reassembly.add(update)
    return reassembly.result()


class Reassembly:
    """`reassemble` for updates that come one by one, in bounded memory however many there are.

    If clients' units are disjoint or equal along some axis, as in all methods whose clients share out or share the
    units, the bound changes no bit of the result.

    Parameters
    ----------
    model
        The parameters' shapes and axes.
    parameters
        The whole model's values; not changed.
    pending_bytes
        The bound: when held updates have more bytes, they are added up before the next is taken.
    """

    def __init__(self, model: Model, parameters: Parameters, pending_bytes: int = PENDING_BYTES) -> None:
        self._bound, self._ended = pending_bytes, False
        self._model = {name: model[name] for name in parameters}
        self._parameters = parameters
        self._sums = {name: WeightedSum(spec) for name, spec in self._model.items()}
        self._pending: list[PartUpdate] = []
        self._pending_bytes = 0
        self._unit: float | None = None

    def add(self, update: PartUpdate) -> None:
        """Take the next update.

        Raises
        ------
        ValueError
            As `reassemble`; for shapes, here or in a later call.
        """
        if not update.weight > 0:
            raise ValueError(f"an update's weight is {update.weight}; expected a positive number")
        # Divide by the first weight, which leaves the mean as it is: equal weights become 1, and nothing is multiplied.
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
            If called again: the first call uses up the sums.
        """
        if self._ended:
            raise ValueError("the result has been taken")
        self._ended = True
        self._add_pending()
        merged = {name: self._sums[name].mean(values) for name, values in self._parameters.items()}
        return merged, _Covered(self._sums)

    def _add_pending(self) -> None:
        for name, spec in self._model.items():
            self._sums[name].add(_holders(name, spec, self._pending))
        self._pending, self._pending_bytes = [], 0


def _holders(name: str, spec: ParameterSpec, updates: Sequence[PartUpdate]) -> dict[Key, Holders]:
    groups: dict[Key, Holders] = {}
    # Make each place once: many clients hold the same part.
    places: dict[bytes, Place] = {}
    for update in updates:
        place = places.get(update.part.digest)
        if place is None:
            place = places[update.part.digest] = Place.of(name, spec, update.part)
        values = update.parameters[name]
        if values.shape != place.shape:
            raise ValueError(f"{name} is of shape {values.shape}; its part's is {place.shape}")
        group = groups.setdefault(place.key, Holders(place))
        group.values.append(values)
        group.weights.append(float(update.weight))
    return groups


class _Covered(Mapping[str, "Mask | None"]):
    """Where each parameter was held, computed when it is asked for: plain averaging never asks."""

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
