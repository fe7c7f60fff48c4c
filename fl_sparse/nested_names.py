"""Nested mappings as flat ones: ``{"first": {"output.bias": …}}`` becomes ``{"first.output.bias": …}``.

Files and messages hold arrays by one name each. The outer name must have no dot; the inner may.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flattened(nested: Mapping[str, Mapping[str, Any]], prefix: str = "") -> dict[str, Any]:
    """Return the inner mappings' values, each by one name: prefix, outer name, dot, inner name."""
    return {f"{prefix}{outer}.{inner}": value for outer, held in nested.items() for inner, value in held.items()}


def nested(flat: Mapping[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    """Return the mappings that `flattened` flattened, from the names that begin with the prefix."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        if name.startswith(prefix):
            outer, _, inner = name.removeprefix(prefix).partition(".")
            found.setdefault(outer, {})[inner] = value
    return found


def without(flat: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the entries whose names do not begin with the prefix."""
    return {name: value for name, value in flat.items() if not name.startswith(prefix)}


def under(flat: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the entries whose names begin with the prefix, by the rest of the name."""
    return {name.removeprefix(prefix): value for name, value in flat.items() if name.startswith(prefix)}
