"""What a suite found: measurements, comparisons with their goals, and caveats; as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.bench.timing import Ratio, Timing

MEASURED = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}


@dataclass(frozen=True)
class Measurement:
    """One quantity: a median with quartiles, and the first time apart, all in ``unit``; ``n`` values."""

    name: str
    unit: str
    median: float
    low: float | None = None
    high: float | None = None
    first: float | None = None
    n: int = 1


@dataclass(frozen=True)
class Comparison:
    """A quantity that is judged: a ratio, or a number with a unit.

    Parameters
    ----------
    name
        What is compared.
    value, low, high
        The ratio of medians, and the quartiles of the single ratios where there are several.
    goal
        As in ``≥ 60``; none means that it is reported only.
    unit
        Of the value; "×" for ratios.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    goal: str = ""
    unit: str = "×"

    @property
    def met(self) -> bool | None:
        """Whether the value is on the goal's side of its bound; None without a goal."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.value >= float(bound) if sign == "≥" else self.value <= float(bound)


@dataclass(frozen=True)
class SuiteResult:
    """What one suite found."""

    suite: str
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...] = ()
    caveats: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    """Series and settings, for JSON alone."""


def measured(name: str, timing: Timing, unit: str = "ms") -> Measurement:
    """Return a timing as a measurement."""
    scale = MEASURED[unit]
    low, median, high = (seconds / scale for seconds in timing.quartiles())
    return Measurement(name, unit, median, low, high, timing.first / scale, len(timing.steady))


def compared(name: str, ratio: Ratio, goal: str = "") -> Comparison:
    """Return a ratio as a comparison."""
    return Comparison(name, ratio.value, ratio.low, ratio.high, goal)


def to_json(result: SuiteResult) -> dict[str, Any]:
    """Return a result as a JSON object."""
    return {
        "measurements": [vars(entry) for entry in result.measurements],
        "comparisons": [vars(entry) | {"met": entry.met} for entry in result.comparisons],
        "caveats": list(result.caveats),
        "details": dict(result.details),
    }


def show(console: Console, result: SuiteResult, *, judged: bool) -> None:
    """Print a result, at most as wide as the console; goals only if they are to be ``judged``."""
    table = Table(title=f"suite {result.suite}", title_justify="left")
    table.add_column("measured", overflow="fold")
    for name in ("median", "quartiles", "first"):
        table.add_column(name, justify="right", overflow="fold")
    for entry in result.measurements:
        first = "" if entry.first is None else _number(entry.first)
        table.add_row(entry.name, f"{_number(entry.median)} {entry.unit}", _spread(entry), first)
    console.print(table, highlight=False)
    if result.comparisons:
        table = Table()
        table.add_column("compared", overflow="fold")
        for name in ("value", "quartiles", *(("goal", "met") if judged else ())):
            table.add_column(name, justify="right", overflow="fold")
        for found in result.comparisons:
            met = {None: "", True: "yes", False: "no"}[found.met]
            row = [found.name, f"{_number(found.value)} {found.unit}", _spread(found)]
            table.add_row(*row, *((found.goal, met) if judged else ()))
        console.print(table, highlight=False)
    for caveat in result.caveats:
        console.print(f"- {caveat}", highlight=False, markup=False)


def _spread(entry: Measurement | Comparison) -> str:
    return "" if entry.low is None or entry.high is None else f"{_number(entry.low)}–{_number(entry.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
