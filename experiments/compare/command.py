"""Compare runs: recipes x varied keys x seeds on the same data, into three tables and a report.

Each cell is an ordinary run in DIR/cells, so a comparison that was cut off goes on where it stopped: finished cells are
kept, an unfinished one is resumed. With --tune, values are chosen for each line from one grid, the same for all, by
validation accuracy with the first seed (the first of equals), never on the test set; the other seeds run with the
chosen values. Rounds, and with them bytes, stay as they are: a tuned local-steps changes what a client computes.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.compare.budgets import budget_rows
from experiments.compare.execute import run_cells
from experiments.compare.grid import (
    TUNING_GRID,
    Cell,
    check_not_set,
    lines,
    manifest,
    parse_axis,
    parse_tuning,
    same_comparison,
    trials,
)
from experiments.compare.tables import cell_rows, line_rows, write_csv
from experiments.compare.tuning import choose
from experiments.recipes import describe_recipes
from experiments.report.command import write_report
from fl_sparse.atomic_file import write_whole
from fl_sparse.config import FIELDS
from fl_sparse.config.text import parse_override
from fl_sparse.errors import InputError
from fl_sparse.federation import check_data
from server.environment import describe_environment
from strategies.registry import assignment_rule

SUMMARY = "run a grid of recipes, keys and seeds, and tabulate it"


def epilog() -> str:
    """Return the part of ``--help`` with examples."""
    return "\n".join(
        [
            describe_recipes(),
            "",
            "examples:",
            "  python -m experiments compare demo --vary strategy=ist,fedavg --seeds 3 --out results/first",
            "  python -m experiments compare demo --vary num-subnets=1,2,4 --vary mask-ratio=0,0.5 --out results/grid",
            "  python -m experiments compare demo --tune --seeds 3 --out results/tuned",
            "  python -m experiments compare demo --tune learning-rate=0.001,0.003 --tune local-steps=5,20 --out grid",
        ]
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="recipes by name or path")
    parser.add_argument("-c", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for all cells")
    parser.add_argument(
        "--vary", action="append", default=[], metavar="KEY=V1,V2,…", help="values to combine; quote one with commas"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="seeds 0 to K-1 (default 1)")
    grid = " × ".join(f"{axis.key}={','.join(map(str, axis.values))}" for axis in TUNING_GRID)
    parser.add_argument(
        "--tune",
        action="append",
        nargs="?",
        default=[],
        metavar="KEY=V1,V2,…",
        help="choose a key's value for each line on validation, at equal rounds and bytes; may be repeated: every "
        f"combination is tried. Alone, after the recipes, it stands for {grid}",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="cells at a time (default 1)")
    parser.add_argument("--out", required=True, metavar="DIR", help="the comparison's folder")


def run(args: argparse.Namespace) -> int:
    """Run the comparison; print its summary."""
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)}: expected 1 or more")
    overrides = dict(parse_override(text) for text in args.overrides)
    axes = [parse_axis(text, "--vary") for text in args.vary]
    made = lines(args.recipes, overrides, axes)
    tuned = parse_tuning(args.tune, axes)
    check_not_set(tuned, "--tune", overrides)
    for line in made:
        for trial in ((), *trials(tuned)):
            config = line.config(**dict(trial))
            assignment_rule(config)
            check_data(config)
    folder = Path(args.out)
    _open(folder, manifest(made, args.seeds, tuned))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    console = Console()

    def told(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    chosen = choose(made, tuned, folder, jobs=args.jobs, told=told) if tuned else {}
    cells = [
        Cell(line, line.config(**dict(chosen.get(line, ())), seed=seed), seed, chosen.get(line, ()))
        for line in made
        for seed in range(args.seeds)
    ]
    outcomes = run_cells(cells, folder / "cells", jobs=args.jobs, told=told)
    write_csv(folder / "comparison.csv", cell_rows(outcomes))
    rows = line_rows(outcomes)
    write_csv(folder / "summary.csv", rows)
    write_csv(folder / "budgets.csv", budget_rows(outcomes, folder / "cells"))
    _show(console, rows, folder)
    told(f"report: {write_report(folder)}")
    return 1 if any(outcome.failure for outcome in outcomes) else 0


def _open(folder: Path, described: str) -> None:
    """Create the folder, or accept one of the same comparison.

    Raises
    ------
    InputError
        If it holds another comparison, or something else.
    """
    known = folder / "grid.json"
    try:
        if known.exists():
            if not same_comparison(known.read_bytes(), described):
                raise InputError(f"{folder} holds another comparison; choose another folder")
            return
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} already holds something that is no comparison")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "environment.json", (json.dumps(describe_environment(), indent=2) + "\n").encode())
        write_whole(known, described.encode())
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from None


def _show(console: Console, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    table = Table(title="test accuracy at the round chosen on validation, %")
    table.add_column("run", overflow="fold")
    for name in ("seeds", "mean", "± 95 %", "final", "MB sent"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        keys = [key for key in row if key in FIELDS]
        sent = None if row["bytes_down"] is None else (row["bytes_down"] + row["bytes_up"]) / 1e6
        table.add_row(
            " ".join([row["recipe"], *(f"{key}={row[key]}" for key in keys)]),
            str(row["seeds"]) + (f" ({row['failed']} failed)" if row["failed"] else ""),
            _percent(row["accuracy_mean"]),
            _percent(row["accuracy_interval"]),
            _percent(row["final_accuracy_mean"]),
            "" if sent is None else f"{sent:.1f}",
        )
    console.print(table)
    tables = ", ".join(str(folder / f"{name}.csv") for name in ("comparison", "summary", "budgets"))
    console.print(f"tables: {tables}", soft_wrap=True, highlight=False)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
