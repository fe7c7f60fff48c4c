"""Recipes: one TOML file of overrides each, found by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fl_sparse.config.text import read_recipe
from fl_sparse.errors import KEYS_LIST, InputError, nearest

FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """Return the shipped recipes' names, as paths below this folder without ``.toml``."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.toml"))


def describe_recipes() -> str:
    """Return the list of shipped recipes for ``--help``, a line for each folder."""
    folders: dict[str, list[str]] = {}
    for name in recipe_names():
        folder, slash, _ = name.rpartition("/")
        folders.setdefault(folder + slash, []).append(name)
    lines = ["recipes:"]
    lines += [f"  {' '.join(names)}" for names in folders.values()]
    return "\n".join(lines)


def find_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """Return a recipe's short name and its overrides, by shipped name or by path.

    Raises
    ------
    InputError
        For an unknown name, with the nearest valid one.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        if not path.is_file():
            raise InputError(f"recipe {name!r} is unknown{nearest(name, recipe_names(), see=KEYS_LIST)}")
    return path.stem, read_recipe(path)
