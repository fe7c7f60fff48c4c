"""Which classes a client holds: said in a reply where the order asks for it (``absent-classes``)."""

from __future__ import annotations

from flwr.app import MetricRecord

CLASSES = "classes"


def held_classes(metrics: MetricRecord, num_classes: int) -> tuple[int, ...]:
    """Read and check the numbers of the classes that a client holds.

    Raises
    ------
    ValueError
        With the reason for refusal: none said, or not whole numbers from 0 to ``num_classes`` − 1, ascending.
    """
    if CLASSES not in metrics:
        raise ValueError(f"the reply lacks {CLASSES!r}")
    said = metrics[CLASSES]
    ascending = isinstance(said, list) and all(isinstance(number, int) for number in said) and said == sorted(set(said))
    if not isinstance(said, list) or not ascending or not said or said[0] < 0 or said[-1] >= num_classes:
        raise ValueError(
            f"classes = {_shown(said)}; expected one or more different numbers from 0 to {num_classes - 1}, ascending"
        )
    return tuple(int(number) for number in said)


def _shown(said: object) -> str:
    """Return a value in at most as many characters as one line of a log can take."""
    text = repr(said)
    return text if len(text) <= 80 else f"{text[:77]}..."
