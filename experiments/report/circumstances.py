"""The sections around results: what differs, chosen values, what went wrong, and the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report.evidence import Problem, Run, Tuning
from experiments.report.markup import Cell, Column, folded, paragraph, section, table, text
from experiments.report.results import LABEL, label
from experiments.report.seed_groups import SeedGroup, differing, plain
from experiments.report.units import percent

FATES = {
    "failed": "failed",
    "unfinished": "not finished",
    "damaged": "damaged",
    "never evaluated": "never evaluated",
    "repeated": "repeated",
}


def problems_section(problems: Sequence[Problem]) -> str:
    """Return the runs that failed, did not finish, or cannot be read."""
    if not problems:
        return ""
    columns = [Column("run", number=False), Column("what", number=False), Column("why", number=False)]
    rows = [[Cell(problem.name), Cell(FATES[problem.fate]), Cell(problem.reason)] for problem in problems]
    words = "The averages and plots are without these runs, unless a configuration has no finished run at all."
    heading = "Runs that failed or are not whole"
    return section("problems", heading, paragraph(words), table(columns, rows, name=heading))


def differences_section(groups: Sequence[SeedGroup]) -> str:
    """Return the keys that differ between configurations, and, folded, those that all share."""
    keys = differing(group.config for group in groups)
    shared = [key for key in groups[0].config if key not in keys]
    several = len({group.recipe for group in groups}) > 1
    columns = [LABEL, *([Column("recipe", number=False)] if several else [])]
    columns += [Column(key, number=_is_number(groups[0], key)) for key in keys]
    rows = [
        [
            label(group),
            *([Cell(group.recipe or "none")] if several else []),
            *(Cell(plain(group.config[key]), _sort_value(group.config[key])) for key in keys),
        ]
        for group in groups
    ]
    if keys or several:
        shown = table(columns, rows, name="Configurations")
    elif len(groups) > 1:
        shown = paragraph("Nothing: the configurations are the same.")
    else:
        shown = paragraph("There is one configuration.")
    alike = [[Cell(key), Cell(plain(groups[0].config[key]))] for key in shared]
    pairs = table([Column("key", number=False), Column("value", number=False)], alike, name="Shared configuration")
    heading = "How the configurations differ"
    return section("differences", heading, shown, folded(f"{len(shared)} keys are the same in all", pairs))


def _is_number(group: SeedGroup, key: str) -> bool:
    return not isinstance(group.config[key], str)


def _sort_value(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def tuning_section(tunings: Sequence[Tuning]) -> str:
    """Return every tried value of the tuned keys, with the chosen ones marked."""
    if not tunings:
        return ""
    parts = [
        paragraph(
            "The values with the best validation accuracy with the first seed were chosen for each configuration; the "
            "same grid was tried for all. The test images had no part in it."
        )
    ]
    if any("local-steps" in tuning.keys for tuning in tunings):
        parts.append(
            paragraph(
                "Rounds were not changed with local-steps: configurations are compared at the rounds and bytes they "
                "were given, and those with more local steps compute more (client FLOP under Results)."
            )
        )
    for tuning in tunings:
        names = [name for name, _ in tuning.trials[0].line] if tuning.trials else []
        columns = [Column(name, number=False) for name in names]
        columns += [*map(Column, tuning.keys), Column("validation accuracy, %"), Column("outcome", number=False)]
        rows = [
            [
                *(Cell(value) for _, value in trial.line),
                *(Cell(value, _number(value)) for value in trial.values),
                Cell("" if trial.accuracy is None else percent(trial.accuracy), trial.accuracy),
                Cell("chosen" if trial.chosen else trial.reason, strong=trial.chosen),
            ]
            for trial in tuning.trials
        ]
        if len(tunings) > 1:
            parts.append(f"<h3>{text(tuning.comparison)}</h3>\n")
        parts.append(table(columns, rows, name=f"Values of {' and '.join(tuning.keys)}"))
    return section("tuning", "Chosen values", *parts)


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def environment_section(runs: Sequence[Run]) -> str:
    """Return what the runs ran on: a column for every distinct environment."""
    found: dict[tuple[tuple[str, str], ...], int] = {}
    for run in runs:
        flat = tuple(_flat(run.environment).items())
        found[flat] = found.get(flat, 0) + 1
    names = list(dict.fromkeys(name for flat in found for name, _ in flat))
    if not names:
        return section("environment", "Where it ran", paragraph("The runs do not say."))
    several = len(found) > 1
    columns = [Column("entry", number=False)]
    headings = [f"{times} run{'' if times == 1 else 's'}" if several else "all runs" for times in found.values()]
    columns += [Column(heading, number=False) for heading in headings]
    rows = []
    for name in names:
        values = [dict(flat).get(name, "") for flat in found]
        differs = len(set(values)) > 1
        rows.append([Cell(name, strong=differs), *(Cell(value, strong=differs) for value in values)])
    words = paragraph("Rows in bold differ between the environments.") if several else ""
    return section("environment", "Where it ran", words, table(columns, rows, name="Environment"))


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value)
        else:
            flat[str(name)] = "unknown" if value is None else str(value)
    return flat
