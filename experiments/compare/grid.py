"""The cells of a comparison: every recipe, with every combination of the varied keys, for every seed."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.recipes import find_recipe
from fl_sparse.config import FIELDS, RunConfig, defaults, from_mapping, to_mapping
from fl_sparse.config.text import parse_value, toml_scalar
from fl_sparse.config.values import Scalar
from fl_sparse.errors import KEYS_LIST, InputError, nearest


@dataclass(frozen=True)
class Axis:
    """A key and the values it takes."""

    key: str
    values: tuple[Scalar, ...]


TUNING_GRID = (Axis("learning-rate", (1e-4, 3e-4, 1e-3)), Axis("local-steps", (10, 20)))
"""What a bare ``--tune`` tries: one small grid, the same for every line."""


@dataclass(frozen=True)
class Line:
    """One line of the summary: a recipe with one combination of the varied keys, whatever the seed."""

    recipe: str
    varied: tuple[tuple[str, Scalar], ...]
    base: tuple[tuple[str, Scalar], ...]

    def config(self, **changes: Scalar) -> RunConfig:
        """Return the run's configuration; ``changes`` have kebab-case keys with underscores."""
        values: dict[str, Any] = dict(self.base) | dict(self.varied)
        values |= {key.replace("_", "-"): value for key, value in changes.items()}
        return from_mapping(values, source=f"recipe {self.recipe}")


@dataclass(frozen=True)
class Cell:
    """One run of the comparison."""

    line: Line
    config: RunConfig
    seed: int
    tuned: tuple[tuple[str, Scalar], ...] = ()

    @property
    def name(self) -> str:
        """The cell's folder: recipe, varied and tuned values, seed."""
        parts = [self.line.recipe, *(f"{key}={_plain(value)}" for key, value in (*self.line.varied, *self.tuned))]
        return re.sub(r"[^A-Za-z0-9=.+-]+", "_", ",".join([*parts, f"seed={self.seed}"]).replace(",", "__"))


def parse_axis(text: str, option: str) -> Axis:
    """Parse ``key=v1,v2,…``; a value that holds commas is quoted.

    Raises
    ------
    InputError
        For an unknown key, no value, or the same value twice.
    """
    key, equals, raw = text.partition("=")
    if not equals or key not in FIELDS:
        raise InputError(f"{option} {text!r}: unknown key {key!r}{nearest(key, FIELDS, see=KEYS_LIST)}")
    if key == "seed":
        raise InputError(f"{option} {text!r}: seeds are counted by --seeds")
    fields = next(csv.reader(io.StringIO(raw), skipinitialspace=True), [])
    values = tuple(parse_value(key, part.strip()) for part in fields)
    if not values or len(set(values)) < len(values):
        raise InputError(f"{option} {text!r}: expected different values, separated by commas")
    return Axis(key, values)


def parse_tuning(texts: Sequence[str | None], varied: Sequence[Axis]) -> tuple[Axis, ...]:
    """Parse every ``--tune``; None is one without a value and stands for `TUNING_GRID`.

    Raises
    ------
    InputError
        As `parse_axis`, or for a key that is named twice or is varied too.
    """
    axes = [axis for text in texts for axis in (TUNING_GRID if text is None else (parse_axis(text, "--tune"),))]
    _check_distinct(axes, "--tune")
    for axis in axes:
        if any(axis.key == other.key for other in varied):
            raise InputError(f"--tune and --vary both name {axis.key}")
    return tuple(axes)


def trials(axes: Sequence[Axis]) -> list[tuple[tuple[str, Scalar], ...]]:
    """Return every combination of the tuned values, in the order in which equals are preferred; without axes, none."""
    if not axes:
        return []
    return [
        tuple(zip((axis.key for axis in axes), combination, strict=True))
        for combination in itertools.product(*(axis.values for axis in axes))
    ]


def lines(recipes: Sequence[str], overrides: Mapping[str, Scalar], axes: Sequence[Axis]) -> list[Line]:
    """Return the lines of a comparison, each checked as a configuration.

    Raises
    ------
    InputError
        For a recipe named twice, a key varied twice or also set, a seed among the overrides, or a configuration that is
        refused.
    """
    if "seed" in overrides:
        raise InputError(f"-c seed={overrides['seed']}: seeds are counted by --seeds")
    _check_distinct(axes, "--vary")
    check_not_set(axes, "--vary", overrides)
    keys = [axis.key for axis in axes]
    made: list[Line] = []
    for recipe in recipes:
        short, values = find_recipe(recipe)
        # Shipped recipes of one name lie in different folders: the whole name tells them apart.
        name = short if recipe.endswith(".toml") else recipe
        if any(line.recipe == name for line in made):
            raise InputError(f"recipe {name!r} is named twice")
        base = tuple({**values, **overrides}.items())
        for combination in itertools.product(*(axis.values for axis in axes)):
            made.append(Line(name, tuple(zip(keys, combination, strict=True)), base))
    for line in made:
        line.config()
    return made


def manifest(lines: Sequence[Line], seeds: int, tuned: Sequence[Axis]) -> str:
    """Return what a comparison is, as JSON: recipes, configurations, seeds, and the tuned keys with their values."""
    described = {
        "lines": [{"recipe": line.recipe, "config": to_mapping(line.config())} for line in lines],
        "seeds": seeds,
        "tune": {axis.key: list(axis.values) for axis in tuned} or None,
    }
    return json.dumps(described, indent=1) + "\n"


def same_comparison(stored: bytes, described: str) -> bool:
    """Tell whether a folder's manifest describes this comparison; keys that it lacks, being older, are at default."""
    try:
        values = json.loads(stored)
        values["lines"] = [{**line, "config": {**defaults(), **line["config"]}} for line in values["lines"]]
    except (ValueError, LookupError, TypeError):
        return False
    return json.dumps(values) == json.dumps(json.loads(described))


def check_not_set(axes: Sequence[Axis], option: str, overrides: Mapping[str, Scalar]) -> None:
    """Refuse a key that takes several values and is also set to one.

    Raises
    ------
    InputError
        Naming it.
    """
    for axis in axes:
        if axis.key in overrides:
            raise InputError(f"-c {axis.key}={overrides[axis.key]} and {option} both name {axis.key}")


def _check_distinct(axes: Sequence[Axis], option: str) -> None:
    keys = [axis.key for axis in axes]
    if len(set(keys)) < len(keys):
        raise InputError(f"{option} names {next(key for key in keys if keys.count(key) > 1)} twice")


def _plain(value: Scalar) -> str:
    return value if isinstance(value, str) else toml_scalar(value)
