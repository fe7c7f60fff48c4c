"""The rows of a comparison's tables as points: what is drawn where, in which panel and series."""

from __future__ import annotations

import csv
import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fl_sparse.errors import InputError, nearest

Row = Mapping[str, str]
SENT = "megabytes_sent"
"""Column made from ``bytes_down`` and ``bytes_up``: megabytes of a whole run, all clients together."""


@dataclass(frozen=True)
class Point:
    """One line of a table: accuracies in per cent, ``half`` half of the 95 % interval or None for one seed."""

    x: float | str
    y: float
    half: float | None
    series: str
    panel: str


@dataclass(frozen=True)
class Choice:
    """Which columns become what; ``series`` and ``panels`` may be empty."""

    x: str
    measure: str
    series: tuple[str, ...]
    panels: tuple[str, ...]
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """Read tables, one after the other.

    Raises
    ------
    InputError
        If a file cannot be read, or is no table.
    """
    rows: list[Row] = []
    for path in paths:
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                found = list(csv.DictReader(stream, strict=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        if not found or any(None in row or None in row.values() for row in found):
            raise InputError(f"{path}: expected a table with a row below its columns' names, all rows of one length")
        rows += [row | _sent(row) for row in found]
    return rows


def _sent(row: Row) -> dict[str, str]:
    if not {"bytes_down", "bytes_up"} <= row.keys():
        return {}
    down, up = _as_number(row["bytes_down"]), _as_number(row["bytes_up"])
    return {SENT: "" if down is None or up is None else str((down + up) / 1e6)}


def points(rows: Sequence[Row], choice: Choice) -> list[Point]:
    """Return a point for every chosen row that has a value.

    Raises
    ------
    InputError
        For a column that is not there, a value that is no number, or if no row is left.
    """
    mean, half = f"{choice.measure}_mean", f"{choice.measure}_interval"
    for column in (choice.x, *choice.series, *choice.panels, *(key for key, _ in choice.where), mean, half):
        _check_column(rows, column)
    chosen = [row for row in rows if all(_matches(row[key], values) for key, values in choice.where)]
    chosen = [row for row in chosen if row[mean] and row[choice.x]]
    if not chosen:
        wanted = " ".join(f"{key}={','.join(values)}" for key, values in choice.where)
        raise InputError(f"no row with {mean} {'and ' + wanted if wanted else 'in the tables'}")
    made = [
        Point(
            x=row[choice.x],
            y=100 * _number(row, mean),
            half=100 * _number(row, half) if row[half] else None,
            series=_label(row, choice.series),
            panel=_label(row, choice.panels),
        )
        for row in chosen
    ]
    numbers = [_as_number(row[choice.x]) for row in chosen]
    if any(number is None for number in numbers):
        return [Point(_plain(str(one.x)), one.y, one.half, one.series, one.panel) for one in made]
    return [
        Point(number, one.y, one.half, one.series, one.panel)
        for one, number in zip(made, numbers, strict=True)
        if number is not None
    ]


def _check_column(rows: Sequence[Row], column: str) -> None:
    for row in rows:
        if column not in row:
            # The tables on the screen head the recipes' column with the word "run".
            meant = "recipe" if column == "run" else column
            close = nearest(meant, row, see="the table's first line")
            raise InputError(f"column {column!r} is not in every table{close}")


def _matches(value: str, wanted: Sequence[str]) -> bool:
    number = _as_number(value)
    return any(value == one or (number is not None and number == _as_number(one)) for one in wanted)


def _number(row: Row, column: str) -> float:
    number = _as_number(row[column])
    if number is None:
        raise InputError(f"column {column!r} holds {row[column]!r}; expected numbers")
    return number


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _label(row: Row, keys: Sequence[str]) -> str:
    # A recipe speaks for itself; another key needs its name beside the value.
    return ", ".join(_plain(row[key]) if key == "recipe" else f"{key} {_plain(row[key])}" for key in keys)


def _plain(text: str) -> str:
    number = _as_number(text)
    return posixpath.basename(text) if number is None else f"{number:g}"
