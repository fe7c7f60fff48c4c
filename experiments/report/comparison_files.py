"""Read a comparison's folder: its cells in the order of the grid, the failed ones, and the chosen values."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.compare.grid import Axis, Cell, Line
from experiments.report.evidence import Evidence, Fate, Problem, Trial, Tuning, gather
from experiments.report.run_files import holds_run, read_run
from fl_sparse.config import FIELDS, from_mapping
from fl_sparse.config.values import Scalar
from fl_sparse.errors import InputError

Row = dict[str, str]


@dataclass(frozen=True)
class Grid:
    """What ``grid.json`` says: lines with their recipes and configurations, seeds, and what was tuned."""

    recipes: tuple[str, ...]
    configs: tuple[dict[str, Scalar], ...]
    seeds: int
    tuned: tuple[Axis, ...]


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
    return Grid(
        tuple(str(line["recipe"]) for line in values["lines"]),
        tuple(line["config"] for line in values["lines"]),
        int(values["seeds"]),
        tuple(Axis(key, tuple(tried)) for key, tried in (values["tune"] or {}).items()),
    )


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _varied(row: Row, grid: Grid) -> list[str]:
    tuned = [axis.key for axis in grid.tuned]
    return [key for key in row if key in FIELDS and key != "seed" and key not in tuned]


def _cell(path: Path, grid: Grid, row: Row, line: int) -> Evidence:
    """Return one row's run, or its failure; the folder's name follows from the row, as it did in ``compare``."""
    values = grid.configs[line]
    tuned = tuple((axis.key, value) for axis in grid.tuned for value in axis.values if str(value) == row.get(axis.key))
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
    keys = tuple(axis.key for axis in grid.tuned)
    tried = math.prod(len(axis.values) for axis in grid.tuned)
    trials = []
    for index, row in enumerate(_rows(path / "tuning.csv")):
        first_cell = rows[index // tried * grid.seeds]
        recipe = [("recipe", row["recipe"])] if len(set(grid.recipes)) > 1 else []
        accuracy = row["validation_accuracy"]
        trials.append(
            Trial(
                line=(*recipe, *((key, row[key]) for key in _varied(row, grid))),
                values=tuple(row[key] for key in keys),
                accuracy=float(accuracy) if accuracy else None,
                chosen=all(first_cell.get(key) == row[key] for key in keys),
                reason=row["reason"],
            )
        )
    return Evidence(tunings=(Tuning(path.resolve().name, keys, tuple(trials)),))
