"""The configuration as text: overrides of the command line, recipes, TOML, and the list of keys for ``--help``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from fl_sparse.config import FIELDS, default_of, type_name
from fl_sparse.config.values import Scalar
from fl_sparse.errors import KEYS_LIST, InputError, nearest


def parse_override(text: str) -> tuple[str, Scalar]:
    """Parse ``key=value`` of the command line; the value is a bare string, read by the key's type."""
    key, equals, raw = text.partition("=")
    key, raw = key.strip(), raw.strip()
    if not equals or not key:
        raise InputError(f"-c {text!r}: expected key=value")
    if key not in FIELDS:
        raise InputError(f"-c {text!r}: unknown key {key!r}{nearest(key, FIELDS, see=KEYS_LIST)}")
    return key, parse_value(key, raw)


def parse_value(key: str, raw: str) -> Scalar:
    """Read a bare string as the type of ``key``."""
    if len(raw) >= 2 and raw[0] == raw[-1] and raw[0] in "'\"":
        raw = raw[1:-1]
    default = default_of(key)
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[raw.lower()]
        if isinstance(default, int):
            return int(raw)
        if isinstance(default, float):
            return float(raw)
    except (KeyError, ValueError):
        raise InputError(f"{key} = {raw!r} is no {type_name(default)}") from None
    return raw


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe: a TOML file of top-level keys.

    Raises
    ------
    InputError
        If the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"recipe {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path}: no valid TOML: {error}") from None


def toml_text(values: Mapping[str, Scalar]) -> str:
    """Write scalars as TOML, one key a line."""
    return tomli_w.dumps(values)


def toml_scalar(value: Scalar) -> str:
    """Write one scalar as TOML."""
    # tomli_w writes whole tables only.
    return toml_text({"key": value}).removeprefix("key = ").removesuffix("\n")


def describe_keys(keys: Iterable[str] | None = None) -> str:
    """Return one line a key: name, default and meaning, for ``--help``."""
    lines = []
    for key in keys or FIELDS:
        entry = FIELDS[key]
        choices = entry.metadata["choices"]
        about = entry.metadata["about"] + (f" ({', '.join(choices)})" if choices else "")
        lines.append(f"  {key + ' = ' + toml_scalar(default_of(key)):<34}  {about}")
    return "\n".join(lines)
