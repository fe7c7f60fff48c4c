"""Read a comparison's folder: its cells in the order of the grid, the failed ones, and the chosen values."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.compare.grid import Cell, Line
from experiments.report.evidence import Evidence, Fate, Problem, Trial, Tuning, gather
from experiments.report.run_files import holds_run, read_run
from fl_sparse.config import FIELDS, Scalar, from_mapping
from fl_sparse.errors import InputError

Row = dict[str, str]


@dataclass(frozen=True)
class Grid:
    """What ``grid.json`` says: lines with their recipes and configurations, seeds, and the tuned key's values."""

    recipes: tuple[str, ...]
    configs: tuple[dict[str, Scalar], ...]
    seeds: int
    tuned_key: str
    tuned_values: tuple[Scalar, ...]

    @property
    def tuned(self) -> bool:
        """Whether a key was tuned."""
        return bool(self.tuned_values)


def holds_comparison(path: Path) -> bool:
    """Tell whether ``compare`` made the folder."""
    return (path / "grid.json").is_file()


def read_comparison(path: Path) -> Evidence:
    """Read a comparison; without a usable table of cells, its cells are read as runs of their own.

    Raises
    ------
    InputError
        If there is neither a table nor a cell.
    """
    try:
        grid = _grid(path / "grid.json")
        rows = _rows(path / "comparison.csv")
        cells = gather([_cell(path, grid, row, index // grid.seeds) for index, row in enumerate(rows)])
        tuning = _tuning(path, grid, rows)
    except (InputError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        loose = loose_runs(path / "cells")
        if not loose:
            raise InputError(f"{path} holds no run") from None
        if not (path / "comparison.csv").exists():
            return gather([*loose, _said(path, "unfinished", "its comparison.csv is not written yet")])
        reason = " ".join(str(error).split())
        return gather([*loose, _said(path, "damaged", f"its tables cannot be read: {reason}")])
    return gather([cells, tuning])


def loose_runs(path: Path) -> list[Evidence]:
    """Read every run folder directly below a folder, in the order of names (run-2 before run-10)."""
    if not path.is_dir():
        return []
    return [read_run(entry) for entry in sorted(path.iterdir(), key=_counted) if holds_run(entry)]


def _counted(path: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _said(path: Path, fate: Fate, reason: str) -> Evidence:
    return Evidence(problems=(Problem(path.resolve().name, fate, reason),))


def _grid(path: Path) -> Grid:
    values = json.loads(path.read_text(encoding="utf-8"))
    tune = values["tune"] or {"": []}
    ((key, tried),) = tune.items()
    return Grid(
        tuple(str(line["recipe"]) for line in values["lines"]),
        tuple(line["config"] for line in values["lines"]),
        int(values["seeds"]),
        key,
        tuple(tried),
    )


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _varied(row: Row, grid: Grid) -> list[str]:
    return [key for key in row if key in FIELDS and key not in ("seed", grid.tuned_key)]


def _cell(path: Path, grid: Grid, row: Row, line: int) -> Evidence:
    """Return one row's run, or its failure; the folder's name follows from the row, as it did in ``compare``."""
    values = grid.configs[line]
    tuned = tuple((grid.tuned_key, value) for value in grid.tuned_values if str(value) == row[grid.tuned_key])
    recipe, seed = grid.recipes[line], int(row["seed"])
    config = from_mapping({**values, **dict(tuned), "seed": seed}, source=str(path / "grid.json"))
    varied = tuple((key, values[key]) for key in _varied(row, grid))
    name = Cell(Line(recipe, varied, ()), config, seed, tuned).name
    if row["status"] == "failed":
        return Evidence(problems=(Problem(name, "failed", row["reason"]),))
    if not holds_run(path / "cells" / name):
        return Evidence(problems=(Problem(name, "damaged", "comparison.csv says it is done, but its folder is gone"),))
    return read_run(path / "cells" / name, recipe)


def _tuning(path: Path, grid: Grid, rows: Sequence[Row]) -> Evidence:
    if not grid.tuned:
        return Evidence()
    trials = []
    for index, row in enumerate(_rows(path / "tuning.csv")):
        line = index // len(grid.tuned_values)
        recipe = [("recipe", row["recipe"])] if len(set(grid.recipes)) > 1 else []
        accuracy = row["validation_accuracy"]
        trials.append(
            Trial(
                line=(*recipe, *((key, row[key]) for key in _varied(row, grid))),
                value=row[grid.tuned_key],
                accuracy=float(accuracy) if accuracy else None,
                chosen=rows[line * grid.seeds][grid.tuned_key] == row[grid.tuned_key],
                reason=row["reason"],
            )
        )
    return Evidence(tunings=(Tuning(path.resolve().name, grid.tuned_key, tuple(trials)),))
