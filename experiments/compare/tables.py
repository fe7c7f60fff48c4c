"""The tables of a comparison: a row a cell, and a row a line with mean, spread and interval over seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare.execute import Outcome

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
    """Return a row a cell; accuracies are fractions."""
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
    """Return a row a line: mean, standard deviation and half the 95 % interval (Student's t) over seeds."""
    from scipy.stats import t

    grouped: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault((outcome.cell.line, outcome.cell.tuned), []).append(outcome)
    rows = []
    for (line, tuned), members in grouped.items():
        done = [outcome.summary for outcome in members if outcome.summary is not None]
        row: dict[str, Any] = {"recipe": line.recipe} | dict(line.varied) | dict(tuned)
        row |= {"seeds": len(done), "failed": len(members) - len(done)}
        for name in MEASURES:
            values = np.array([summary[name] for summary in done if summary[name] is not None], dtype=np.float64)
            spread = float(values.std(ddof=1)) if len(values) > 1 else None
            half = None if spread is None else float(t.ppf(0.975, len(values) - 1)) * spread / math.sqrt(len(values))
            row |= {f"{name}_mean": float(values.mean()) if len(values) else None}
            row |= {f"{name}_std": spread, f"{name}_interval": half}
        for name in ("bytes_down", "bytes_up", "flops_per_client"):
            row[name] = float(np.mean([summary[name] for summary in done])) if done else None
        for name in (SIMULATED, *COSTS):
            known = [summary[name] for summary in done if summary.get(name) is not None]
            row[name] = float(np.mean(known)) if known else None
        for name in CROSSOVERS:
            # A mean over the seeds that got there would hide those that never did.
            reached = [summary[name] for summary in done if summary.get(name) is not None]
            row[name] = float(np.mean(reached)) if reached and len(reached) == len(done) else None
        rows.append(row)
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the union of their columns, in order of appearance."""
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
