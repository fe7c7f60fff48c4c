"""Tables as plain values, and the cells that several tables share; templates/parts.html.j2 writes them as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from experiments.report.seed_groups import SeedGroup
from experiments.report.units import digits, percent, quantity
from experiments.spread import Spread

Item = TypeVar("Item")


@dataclass(frozen=True)
class Cell:
    """A table's cell: the text to read, the exact value to sort by, and the group whose line stands before the text."""

    text: str
    value: float | str | None = None
    group: int | None = None
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A column's heading; ``about`` is its explanation, shown when pointed at."""

    heading: str
    about: str = ""
    number: bool = True

    @property
    def kind(self) -> str:
        """The class that page.css gives the column's cells."""
        return "number" if self.number else "words"


@dataclass(frozen=True)
class Table:
    """A sortable table; ``name`` is its caption for readers who cannot see where it stands."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    @property
    def body(self) -> list[list[tuple[Column, Cell]]]:
        """The rows, every cell with its column."""
        return [list(zip(self.columns, row, strict=True)) for row in self.rows]


def table_of(name: str, columns: Mapping[Column, Callable[[Item], Cell]], items: Iterable[Item]) -> Table:
    """Return a table with a row for each item; every column comes with the function that makes its cells."""
    return Table(name, list(columns), [[make(item) for make in columns.values()] for item in items])


LABEL = Column("configuration", "what tells it apart from the others", number=False)


def label(group: SeedGroup) -> Cell:
    """Return the cell that names a group."""
    return Cell(group.label + ("" if group.finished else " (unfinished)"), group=group.index)


def number(value: float | None, written: Callable[[float], str] = digits) -> Cell:
    """Return a number's cell, empty without one."""
    return Cell("" if value is None else written(value), value)


def amount(value: float | None, unit: str) -> Cell:
    """Return the cell of a number with a unit, empty without one."""
    return number(value, lambda known: quantity(known, unit))


def accuracy(found: Spread) -> Cell:
    """Return the cell of an accuracy over seeds in per cent, with half of its interval if there is one."""
    half = "" if found.half is None else f" ± {percent(found.half)}"
    return Cell(percent(found.mean) + half, found.mean)
