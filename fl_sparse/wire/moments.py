"""Optimiser moments in the record of weights, under prefixed names: ``moment.first.output.weight``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from fl_sparse.learn.task import OptimizerMoments
from fl_sparse.model.parameters import Model, Shape
from fl_sparse.nested_names import flattened, nested, without

PREFIX = "moment."


def with_moments(parameters: Mapping[str, Any], moments: OptimizerMoments) -> Mapping[str, Any]:
    """Return weights and moments as arrays of one record; without moments, the weights themselves."""
    return {**parameters, **flattened(moments, PREFIX)} if moments else parameters


def split_moments(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return a record's weights, and its moments: moment -> parameter -> values."""
    if not any(name.startswith(PREFIX) for name in arrays):
        return dict(arrays), {}
    return without(arrays, PREFIX), nested(arrays, PREFIX)


def moment_shapes(model: Model, moments: Iterable[str]) -> dict[str, Shape]:
    """Return the shapes of a record's moments: the shapes of the trained parameters."""
    trained = {name: spec.shape for name, spec in model.items() if spec.trained}
    return flattened(dict.fromkeys(moments, trained), PREFIX)
