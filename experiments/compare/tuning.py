"""Choose the tuned values of each line of a comparison, on validation.

The budget that stays equal is rounds and bytes: rounds, clients asked and the size of a message do not depend on the
tuned values of the usual keys. A tuned ``local-steps`` changes what a client computes instead, which the tables report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.compare.execute import Outcome, Told, run_cells
from experiments.compare.grid import Axis, Cell, Line, trials
from experiments.compare.tables import cell_rows, write_csv
from fl_sparse.config.values import Scalar

Chosen = Mapping[Line, tuple[tuple[str, Scalar], ...]]
"""A line's tuned keys with their chosen values; a line of which no trial could be evaluated is left out."""


def choose(made: Sequence[Line], axes: Sequence[Axis], folder: Path, *, jobs: int, told: Told) -> Chosen:
    """Try every combination for every line with the first seed, and choose by validation accuracy.

    The first of equals is chosen, in the order of the grid. What was tried is written to ``tuning.csv``.
    """
    tried = trials(axes)
    grid = " × ".join(f"{axis.key} of {', '.join(map(str, axis.values))}" for axis in axes)
    told(f"choosing {grid} on validation: {len(tried)} runs a line")
    cells = [Cell(line, line.config(**dict(trial), seed=0), 0, trial) for line in made for trial in tried]
    outcomes = run_cells(cells, folder / "cells", jobs=jobs, told=told)
    write_csv(folder / "tuning.csv", cell_rows(outcomes))
    best: dict[Line, Outcome] = {}
    for outcome in outcomes:
        if outcome.summary is None or outcome.summary["validation_accuracy"] is None:
            continue
        known = best.get(outcome.cell.line)
        if known is None or outcome.summary["validation_accuracy"] > (known.summary or {})["validation_accuracy"]:
            best[outcome.cell.line] = outcome
    keys = " and ".join(axis.key for axis in axes)
    for line in made:
        if line not in best:
            named = " ".join([line.recipe, *(f"{key}={value}" for key, value in line.varied)])
            told(f"{named}: no value of {keys} could be evaluated; its cells run with the recipe's own")
    return {line: outcome.cell.tuned for line, outcome in best.items()}
