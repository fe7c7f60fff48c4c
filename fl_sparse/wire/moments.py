"""Optimiser moments in the record of weights, under prefixed names: ``moment.first.output.weight``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from fl_sparse.model.mlp import SKIP_NAMES
from fl_sparse.wire.exchange import OptimizerMoments, Parameters

PREFIX = "moment."


def with_moments(parameters: Parameters, moments: OptimizerMoments) -> Parameters:
    """Return weights and moments as arrays of one record; without moments, the weights themselves."""
    return {
        **parameters,
        **{_name(moment, name): array for moment in moments for name, array in moments[moment].items()},
    }


def split_moments(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return a record's weights, and its moments by moment and parameter."""
    parameters: dict[str, Any] = {}
    moments: dict[str, dict[str, Any]] = {}
    for key, array in arrays.items():
        if key.startswith(PREFIX):
            moment, _, name = key.removeprefix(PREFIX).partition(".")
            moments.setdefault(moment, {})[name] = array
        else:
            parameters[key] = array
    return parameters, moments


def moment_shapes(shapes: Mapping[str, tuple[int, ...]], moments: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a record's moments: those of the weights, without the skip term, which is never trained."""
    return {
        _name(moment, name): shape for moment in moments for name, shape in shapes.items() if name not in SKIP_NAMES
    }


def _name(moment: str, parameter: str) -> str:
    return f"{PREFIX}{moment}.{parameter}"
