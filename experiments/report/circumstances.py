"""What the sections around the results show: differences, chosen values, what went wrong, and the environment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report.evidence import Problem, Run, Tuning
from experiments.report.seed_groups import SeedGroup, differing, plain
from experiments.report.table import LABEL, Cell, Column, Table, label, number
from experiments.report.units import counted, percent

FATES = {
    "failed": "failed",
    "unfinished": "not finished",
    "damaged": "damaged",
    "never evaluated": "never evaluated",
    "repeated": "repeated",
}


def problems_table(problems: Sequence[Problem]) -> Table | None:
    """Return the runs that failed, did not finish, or cannot be read; None if there is none."""
    columns = [Column(heading, number=False) for heading in ("run", "what", "why")]
    rows = [[Cell(problem.name), Cell(FATES[problem.fate]), Cell(problem.reason)] for problem in problems]
    return Table("Runs that failed or are not whole", columns, rows) if rows else None


def differences_tables(groups: Sequence[SeedGroup]) -> tuple[Table | None, Table]:
    """Return the keys that differ between configurations (None if none does), and the keys that all share."""
    first = groups[0].config
    keys = differing(group.config for group in groups)
    recipes = len({group.recipe for group in groups}) > 1
    columns = [LABEL, *([Column("recipe", number=False)] if recipes else [])]
    columns += [Column(key, number=not isinstance(first[key], str)) for key in keys]
    rows = [
        [label(group)]
        + ([Cell(group.recipe or "none")] if recipes else [])
        + [Cell(plain(group.config[key]), _sort_value(group.config[key])) for key in keys]
        for group in groups
    ]
    alike = [[Cell(key), Cell(plain(first[key]))] for key in first if key not in keys]
    shared = Table("Shared configuration", [Column("key", number=False), Column("value", number=False)], alike)
    return Table("Configurations", columns, rows) if keys or recipes else None, shared


def _sort_value(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def tuning_table(tuning: Tuning) -> Table:
    """Return every tried value of the tuned keys; the chosen ones are marked."""
    names = [name for name, _ in tuning.trials[0].line] if tuning.trials else []
    columns = [Column(name, number=False) for name in names]
    columns += [*map(Column, tuning.keys), Column("validation accuracy, %"), Column("outcome", number=False)]
    rows = [
        [
            *(Cell(value) for _, value in trial.line),
            *(Cell(value, _number(value)) for value in trial.values),
            number(trial.accuracy, percent),
            Cell("chosen" if trial.chosen else trial.reason, strong=trial.chosen),
        ]
        for trial in tuning.trials
    ]
    return Table(f"Values of {' and '.join(tuning.keys)}", columns, rows)


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def environment_table(runs: Sequence[Run]) -> Table | None:
    """Return what the runs ran on, a column for every distinct environment; None if no run says."""
    found = Counter(tuple(_flat(run.environment).items()) for run in runs)
    names = dict.fromkeys(name for flat in found for name, _ in flat)
    headings = [counted(times, "run") for times in found.values()] if len(found) > 1 else ["all runs"]
    rows = []
    for name in names:
        values = [dict(flat).get(name, "") for flat in found]
        differs = len(set(values)) > 1
        rows.append([Cell(value, strong=differs) for value in (name, *values)])
    columns = [Column(heading, number=False) for heading in ("entry", *headings)]
    return Table("Environment", columns, rows) if rows else None


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value)
        else:
            flat[str(name)] = "unknown" if value is None else str(value)
    return flat
