"""Whether a summary's entries on costs and clients are such that a report can show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_sparse.errors import InputError

DISTRIBUTION = ("client_accuracy_min", "client_accuracy_p10", "client_accuracy_median")
NUMBERS = (
    *("weights_global", "weights_held", "weights_held_max", "weights_active"),
    *("weights_held_share", "weights_active_share", "bytes_of_shards", "bytes_of_features"),
    *("crossover_round_shards", "crossover_round_features"),
    *DISTRIBUTION,
)


def check_entries(summary: Mapping[str, Any], *, source: Path) -> None:
    """Refuse entries that are there and cannot be shown; older runs have none.

    Raises
    ------
    InputError
        Naming the file and the entry.
    """
    for name in NUMBERS:
        if (value := summary.get(name)) is not None:
            _number(value, f"{source}: {name}")
    for name in ("flops_by_layer", "client_accuracy"):
        if not isinstance(summary.get(name) or {}, dict):
            raise InputError(f"{source}: {name} is {summary[name]!r}; expected an object")
    for layer, flops in (summary.get("flops_by_layer") or {}).items():
        _number(flops, f"{source}: flops_by_layer of {layer}")
    if found := summary.get("client_accuracy"):
        _check_clients(found, f"{source}: client_accuracy")
        for name in DISTRIBUTION:
            _number(summary.get(name), f"{source}: {name}")


def _check_clients(found: Mapping[str, Any], name: str) -> None:
    _number(found.get("number"), f"{name} of number")
    if "percentiles" in found:
        lists, expected = [found["percentiles"]], 101
    else:
        lists = [found.get("clients"), found.get("accuracy")]
        expected = len(lists[0]) if isinstance(lists[0], list) else 0
    for values in lists:
        if not isinstance(values, list) or len(values) != expected:
            raise InputError(f"{name} is no list of clients with their accuracies, and none of 101 percentiles")
        for value in values:
            if value is not None:
                _number(value, name)


def _number(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise InputError(f"{name} is {value!r}; expected a number of 0 or more")
