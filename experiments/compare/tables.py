"""The tables of a comparison: a row for each cell, and one for each line with mean, spread and interval over seeds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare.execute import Outcome
from experiments.spread import spread

MEASURES = ("accuracy", "validation_accuracy", "final_accuracy", "best_accuracy")
COUNTS = ("chosen_round", "rounds", "bytes_down", "bytes_up", "flops_per_client", "asked", "refused", "lost", "late")
SIMULATED = "simulated_seconds"
COSTS = (
    *("weights_global", "weights_held", "weights_held_max", "weights_active"),
    *("weights_held_share", "weights_active_share", "bytes_of_shards", "bytes_of_features"),
    *("client_accuracy_min", "client_accuracy_p10", "client_accuracy_median"),
)
CROSSOVERS = ("crossover_round_shards", "crossover_round_features")


def cell_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a row for each cell; accuracies are fractions."""
    rows = []
    for outcome in outcomes:
        summary = outcome.summary or {}
        rows.append(
            {"recipe": outcome.cell.line.recipe}
            | dict(outcome.cell.line.varied)
            | dict(outcome.cell.tuned)
            | {"seed": outcome.cell.seed, "status": "failed" if outcome.failure else "done"}
            | {name: summary.get(name) for name in (*MEASURES, *COUNTS)}
            | {name: summary.get(name) for name in (SIMULATED, *COSTS, *CROSSOVERS)}
            | {"seconds": sum(summary["seconds"].values()) if summary else None, "reason": outcome.failure}
        )
    return rows


def line_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a row for each line: mean, standard deviation and half of the 95 % interval over seeds."""
    grouped: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault((outcome.cell.line, outcome.cell.tuned), []).append(outcome)
    rows = []
    for (line, tuned), members in grouped.items():
        done = [outcome.summary for outcome in members if outcome.summary is not None]
        row: dict[str, Any] = {"recipe": line.recipe} | dict(line.varied) | dict(tuned)
        row |= {"seeds": len(done), "failed": len(members) - len(done)}
        for name in MEASURES:
            values = [summary[name] for summary in done if summary[name] is not None]
            found = spread(values) if values else None
            mean, deviation, half = (found.mean, found.deviation, found.half) if found else (None, None, None)
            row |= {f"{name}_mean": mean, f"{name}_std": deviation, f"{name}_interval": half}
        for name in ("bytes_down", "bytes_up", "flops_per_client"):
            row[name] = float(np.mean([summary[name] for summary in done])) if done else None
        for name in (SIMULATED, *COSTS):
            known = [summary[name] for summary in done if summary.get(name) is not None]
            row[name] = float(np.mean(known)) if known else None
        for name in CROSSOVERS:
            # A mean over the seeds that reached a crossover would hide the seeds that never did.
            reached = [summary[name] for summary in done if summary.get(name) is not None]
            row[name] = float(np.mean(reached)) if reached and len(reached) == len(done) else None
        rows.append(row)
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV; the columns are those of all rows, in order of appearance."""
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
