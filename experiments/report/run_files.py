"""Read one run's folder, whatever state it is in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.report.evidence import Evidence, Problem, Run
from experiments.report.summary_checks import check_entries
from fl_sparse.config import to_mapping
from fl_sparse.errors import InputError
from server.client_table import read_clients
from server.records import RoundRecord, summarize
from server.run_folder import RunFolder, read_config, read_records

COUNTS = (
    *("round", "bytes_down", "bytes_up", "flops_per_client", "weights_held", "weights_held_max", "weights_active"),
    *("asked", "answered", "refused", "lost", "late"),
)
ACCURACIES = ("validation_accuracy", "test_accuracy", "clients_accuracy")
PINNED = ("accuracy", "chosen_round", "final_accuracy", "validation_accuracy", "rounds", "bytes_down", "bytes_up")
"""Entries of a summary that its records must give again."""


def holds_run(path: Path) -> bool:
    """Tell whether a folder is a run's, damaged or not."""
    return any(file.is_file() for file in (RunFolder(path).config_file, RunFolder(path).metrics_file))


def read_run(path: Path, recipe: str = "") -> Evidence:
    """Read a run; what cannot be used becomes a problem with its reason, never an error."""
    try:
        run = _read(RunFolder(path), recipe)
    except (InputError, OSError, ValueError) as error:  # ValueError: text that is no UTF-8, TOML or JSON
        reason = " ".join(str(error).replace(f"{path}/", "").split()) or type(error).__name__
        return Evidence(problems=(Problem(path.name, "damaged", reason),))
    problems = () if run.finished else (Problem(path.name, "unfinished", _reached(run)),)
    return Evidence(runs=(run,) if run.summary["accuracy"] is not None else (), problems=problems or _mute(run))


def _read(folder: RunFolder, recipe: str) -> Run:
    config = to_mapping(read_config(folder.path))
    records = tuple(read_records(folder))
    for record in records:
        _check(record, folder)
    follows = summarize(records)
    finished = folder.summary_file.exists()
    summary = _json(folder.summary_file) if finished else follows
    for name in PINNED:
        if finished and (name not in summary or summary[name] != follows[name]):
            raise InputError(
                f"{folder.summary_file}: {name} is {summary.get(name)!r}, but {folder.metrics_file.name} gives "
                f"{follows[name]!r}"
            )
    check_entries(summary, source=folder.summary_file)
    environment = folder.path / "environment.json"
    return Run(
        folder=folder.path,
        recipe=recipe,
        config=config,
        records=records,
        # Entries that an older run did not write yet follow from its records.
        summary={**follows, **summary},
        finished=finished,
        environment=_json(environment) if environment.exists() else {},
        split=folder.split_file.read_bytes() if folder.split_file.exists() else None,
        clients=read_clients(folder.clients_file) if folder.clients_file.exists() else None,
    )


def _json(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: no JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def _check(record: RoundRecord, folder: RunFolder) -> None:
    """Refuse a record that cannot be drawn.

    Raises
    ------
    InputError
        Naming the file, the round and the entry.
    """
    source = f"{folder.metrics_file}, round {record.round}"
    entries: dict[str, Any] = {name: getattr(record, name) for name in COUNTS}
    entries |= {
        name: value for name in (*ACCURACIES, "simulated_seconds") if (value := getattr(record, name)) is not None
    }
    for name in ("seconds", "flops_by_layer"):
        if not isinstance(parts := getattr(record, name), dict):
            raise InputError(f"{source}: {name} is {parts!r}; expected an object")
        entries |= {f"{name} of {part}": value for part, value in parts.items()}
    for name, value in entries.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise InputError(f"{source}: {name} is {value!r}; expected a number of 0 or more")


def _reached(run: Run) -> str:
    rounds = run.config["num-server-rounds"]
    if not run.records:
        return f"it wrote no round of {rounds}; `run --resume` goes on with it"
    return f"it reached round {run.records[-1].round} of {rounds}; `run --resume` goes on with it"


def _mute(run: Run) -> tuple[Problem, ...]:
    if run.summary["accuracy"] is not None:
        return ()
    return (Problem(run.name, "never evaluated", "no round has an accuracy to show (evaluate = none)"),)
