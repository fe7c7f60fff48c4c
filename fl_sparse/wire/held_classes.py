"""Which classes a client holds: part of a reply if the order asks for it (``absent-classes``)."""

from __future__ import annotations

from flwr.app import MetricRecord

CLASSES = "classes"


def held_classes(metrics: MetricRecord, num_classes: int) -> tuple[int, ...]:
    """Return the classes that a client says it holds, checked.

    Raises
    ------
    ValueError
        With the reason for refusal: no classes, or not whole numbers from 0 to ``num_classes`` − 1, ascending.
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
    """Return a value as text, cut to 80 characters for the log."""
    text = repr(said)
    return text if len(text) <= 80 else f"{text[:77]}..."
