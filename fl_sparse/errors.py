"""What a user gets to read when something they gave cannot be used."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in the input: one line, naming the value, what was expected, and the client or file.

    Commands print it on standard error and exit with code 2.
    """


FEW, SHORT = 12, 120
"""How many names, and of how many characters together, a message lists in full."""
KEYS_LIST = "python -m experiments run --help"
"""Where a configuration's keys can be read."""


def nearest(name: str, valid: Iterable[str], *, see: str = "") -> str:
    """Return what to say after a name that is unknown: the closest valid one, and the choices where they are few.

    Parameters
    ----------
    name
        What was given.
    valid
        What could have been.
    see
        Where all can be read, said where they are many and none is close.

    Returns
    -------
    ``; did you mean 'x'?``, ``; expected one of: …``, or of many names the three nearest.
    """
    names = sorted(valid)
    few = len(names) <= FEW and len(", ".join(names)) <= SHORT
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?" + (f" Choices: {', '.join(names)}" if few and len(names) > 1 else "")
    if few:
        return f"; expected one of: {', '.join(names)}"
    some = ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.0))
    return f"; nearest of {len(names)} names: {some}" + (f"; all are in: {see}" if see else "")
