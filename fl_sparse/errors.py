"""What a user gets to read when something they gave cannot be used."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in the input: one line, naming the value, what was expected, and the client or file.

    Commands print it on standard error and exit with code 2.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest valid name, or the list of valid names if none is close."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; expected one of: {', '.join(names)}"
