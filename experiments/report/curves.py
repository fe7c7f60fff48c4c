"""Accuracy along a run: mean and bands over seeds, against what the rounds have cost so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.report.evidence import Run
from experiments.report.seed_groups import SeedGroup
from experiments.spread import spread
from server.records import RoundRecord


@dataclass(frozen=True)
class Expense:
    """A cost that adds up over rounds; ``of`` returns one round's part in ``unit``, None if the record lacks it."""

    name: str
    title: str
    unit: str
    of: Callable[[RoundRecord], float | None]


EXPENSES = (
    Expense("bytes", "bytes sent, down and up, all clients together", "B", lambda r: r.bytes_down + r.bytes_up),
    Expense("flops", "floating-point operations of one client", "FLOP", lambda r: r.flops_per_client),
    Expense("simulated", "simulated seconds, by the virtual clock", "s", lambda r: r.simulated_seconds),
    Expense("seconds", "wall-clock seconds", "s", lambda r: sum(r.seconds.values())),
)


@dataclass(frozen=True)
class Curve:
    """A group's accuracy by round: fractions, one entry a round that every seed evaluated.

    ``half`` is half of the 95 % interval, None for a single seed. ``spent`` maps an expense's name to its cumulative
    sum at each round, the mean over seeds. An expense that some record does not count is left out.
    """

    rounds: tuple[int, ...]
    mean: tuple[float, ...]
    half: tuple[float, ...] | None
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    spent: dict[str, tuple[float, ...]]


def reported(record: RoundRecord) -> float | None:
    """Return the accuracy that tables report."""
    return record.reported


def held_out(record: RoundRecord) -> float | None:
    """Return the accuracy on the server's validation split."""
    return record.validation_accuracy


def curve(group: SeedGroup, measure: Callable[[RoundRecord], float | None]) -> Curve | None:
    """Return a group's curve, or None if no round has the measure in all seeds."""
    values = [{r.round: found for r in run.records if (found := measure(r)) is not None} for run in group.runs]
    rounds = sorted(set.intersection(*(set(found) for found in values)))
    if not rounds:
        return None
    spreads = [spread([found[number] for found in values]) for number in rounds]
    return Curve(
        rounds=tuple(rounds),
        mean=tuple(entry.mean for entry in spreads),
        half=None if len(values) == 1 else tuple(entry.half or 0.0 for entry in spreads),
        lowest=tuple(entry.lowest for entry in spreads),
        highest=tuple(entry.highest for entry in spreads),
        spent={e.name: spent for e in EXPENSES if (spent := _spent(group.runs, rounds, e)) is not None},
    )


def _spent(runs: tuple[Run, ...], rounds: list[int], expense: Expense) -> tuple[float, ...] | None:
    sums = []
    for run in runs:
        parts = [part for record in run.records if (part := expense.of(record)) is not None]
        if len(parts) < len(run.records):
            return None
        total = np.cumsum(parts)
        at = {record.round: position for position, record in enumerate(run.records)}
        sums.append([float(total[at[number]]) for number in rounds])
    return tuple(np.mean(sums, axis=0).tolist())
