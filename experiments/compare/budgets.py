"""Accuracy at equal bytes: what each line of a comparison reaches within a number of bytes.

One run gives the answer for every number of rounds: its records hold the bytes of each round, and the accuracies of
evaluated rounds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.compare.execute import Outcome
from experiments.spread import spread
from server.records import RoundRecord, chosen_record, evaluated
from server.run_folder import RunFolder, read_records

MEGABYTE = 1e6


def bytes_so_far(records: Sequence[RoundRecord]) -> list[int]:
    """Return the bytes sent until the end of each round, down and up, all clients together."""
    return list(itertools.accumulate(record.bytes_down + record.bytes_up for record in records))


def best_within(records: Sequence[RoundRecord], budget: float, *, first: int = 1) -> RoundRecord | None:
    """Return the round that validation chooses among the rounds that a budget pays for.

    Parameters
    ----------
    records
        A run's rounds in order, from round 0.
    budget
        Bytes of all clients together, down and up.
    first
        Earliest round that may be chosen: 1 where round 0 is the untrained model, 0 after a closed-form start.

    Returns
    -------
    The `chosen_record` of the rounds until whose end no more than the budget was sent; None if none of them was
    evaluated.
    """
    sent = bytes_so_far(records)
    return chosen_record(
        [record for record, total in zip(records, sent, strict=True) if total <= budget and record.round >= first]
    )


def round_budgets(least: float, most: float) -> list[float]:
    """Return the numbers 1, 2 and 5 of each decade from ``least`` to the first that is not below ``most``."""
    if not 0 < least <= most:
        return []
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    steps = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    last = next((step for step in steps if step >= most), math.inf)
    return [step for step in steps if least <= step <= last]


def budget_rows(outcomes: Sequence[Outcome], cells: Path) -> list[dict[str, Any]]:
    """Return a row for each line and byte budget within which all its seeds were evaluated.

    Budgets are in megabytes. ``megabytes_spent`` is the mean over seeds of what was sent until the chosen round. A line
    keeps its accuracy at budgets above its own total, since its runs had no more rounds.
    """
    grouped: dict[Any, list[_Course]] = {}
    for outcome in outcomes:
        if outcome.summary is not None:
            records = read_records(RunFolder(cells / outcome.cell.name))
            course = _Course(records, first=0 if outcome.cell.config.init == "ridge" else 1)
            grouped.setdefault((outcome.cell.line, outcome.cell.tuned), []).append(course)
    runs = [course for courses in grouped.values() for course in courses]
    least = min((course.least for course in runs), default=math.inf) / MEGABYTE
    most = max((course.sent[-1] for course in runs if course.sent), default=0) / MEGABYTE
    rows = []
    for (line, tuned), courses in grouped.items():
        for megabytes in round_budgets(least, most):
            chosen = [best_within(course.records, megabytes * MEGABYTE, first=course.first) for course in courses]
            found = [record for record in chosen if record is not None]
            if len(found) < len(courses):
                continue
            accuracy = spread([record.reported for record in found if record.reported is not None])
            spent = [course.at(record.round) / MEGABYTE for course, record in zip(courses, found, strict=True)]
            rows.append(
                {"recipe": line.recipe}
                | dict(line.varied)
                | dict(tuned)
                | {"megabytes": megabytes, "seeds": len(found)}
                | {"accuracy_mean": accuracy.mean, "accuracy_interval": accuracy.half}
                | {"round_mean": spread([record.round for record in found]).mean, "megabytes_spent": spread(spent).mean}
            )
    return rows


@dataclass(frozen=True)
class _Course:
    """A run's rounds, and the earliest that may be chosen."""

    records: Sequence[RoundRecord]
    first: int

    @property
    def sent(self) -> list[int]:
        return bytes_so_far(self.records)

    @property
    def least(self) -> float:
        """Bytes that the first evaluated round had cost."""
        found = [record.round for record in evaluated(self.records) if record.round >= self.first]
        return self.at(found[0]) if found else math.inf

    def at(self, number: int) -> int:
        """Bytes until the end of a round."""
        return self.sent[[record.round for record in self.records].index(number)]
