"""Numbers as people read them."""

from __future__ import annotations

PREFIXES = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15))


def scaled(unit: str, largest: float) -> tuple[str, float]:
    """Return a unit with the prefix (powers of 1,000) that suits the largest number, and its factor; seconds stay."""
    if unit == "s":
        return "s", 1.0
    prefix, factor = max((entry for entry in PREFIXES if entry[1] <= max(largest, 1.0)), key=lambda entry: entry[1])
    return prefix + unit, factor


def quantity(value: float, unit: str) -> str:
    """Return a number with a unit, three digits or more: ``7.03 MB``."""
    name, factor = scaled(unit, value)
    return f"{digits(value / factor)} {name}"


def digits(value: float) -> str:
    """Return a number with at least three digits, and no more decimals than that takes."""
    size = abs(value)
    decimals = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2
    return f"{value:,.{decimals}f}"


def percent(value: float) -> str:
    """Return a fraction as a percentage without its sign: ``93.25``."""
    return f"{100 * value:.2f}"


def counted(count: int, noun: str) -> str:
    """Return a number of things: ``1 run``, ``2 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
