"""Values of a configuration's keys: their ranges, and the lists that are written as text."""

from __future__ import annotations

import functools

from fl_sparse.errors import InputError

Scalar = str | int | float | bool


def kebab(name: str) -> str:
    """Return a field's name as a configuration key."""
    return name.replace("_", "-")


def shown(value: object) -> str:
    """Return a value as messages show it: truth values as they are typed, texts quoted."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def check_range(key: str, value: Scalar, holds: bool, expected: str) -> None:
    """Refuse a value out of its range.

    Raises
    ------
    InputError
        Unless ``holds``, naming the key, the value and what was expected.
    """
    if not holds:
        raise InputError(f"{key} = {shown(value)} is out of range; expected {expected}")


def parse_widths(key: str, text: str) -> tuple[int, ...]:
    """Parse widths of layers, as in '1000,1000'; 'none' is no layer.

    Raises
    ------
    InputError
        For what is no positive whole number.
    """
    if text == "none":
        return ()
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = (0,)
    check_range(key, text, min(widths) >= 1, "positive whole numbers, as in '1000,1000', or 'none'")
    return widths


@functools.lru_cache(maxsize=16)
def parse_shares(key: str, text: str) -> tuple[float, ...]:
    """Parse shares: numbers or fractions, each repeated if a count follows, as in '1, 1/2*3'.

    Raises
    ------
    InputError
        For what is no number above 0 and at most 1.
    """
    try:
        shares = tuple(share for part in text.split(",") for share in _repeated(part))
    except (ValueError, ZeroDivisionError):
        shares = ()
    holds = bool(shares) and all(0.0 < share <= 1.0 for share in shares)
    check_range(key, text, holds, "numbers above 0, at most 1, as in '1,0.5,0.25' or '1,1/2*3'")
    return shares


def _repeated(part: str) -> list[float]:
    value, times, count = part.partition("*")
    above, line, below = value.partition("/")
    share = float(above) / float(below) if line else float(value)
    # A population has at most so many clients; a slip of the keyboard should not fill the memory.
    repeats = int(count) if times else 1
    return [share] * repeats if 1 <= repeats <= 1_000_000 else [0.0]
