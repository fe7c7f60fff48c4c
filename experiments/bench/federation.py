"""A federation over features that the benchmark makes: the real rounds, strategy, messages and cohort training.

Only where features come from differs from ``python -m experiments run``: no image is read and nothing is encoded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from client.app import app, train
from experiments.bench.peers.job import Job, data
from fl_sparse.array_ops import ArrayOps
from fl_sparse.config import RunConfig, from_mapping
from fl_sparse.data.client_rows import ClientRows
from fl_sparse.federation import FeatureTable, HeldOut, TrainingTable
from server.records import RoundRecord
from server.run_folder import create_run_folder
from server.simulation import ClientSide, simulate_table

TRAINING = ("configure", "train", "aggregate", "evaluate")
"""A round's phases without writing its record and checkpoint."""


@dataclass
class Observed:
    """What a run of rounds took; a watcher of `run_rounds`.

    Parameters
    ----------
    after
        Called after each round, outside the round's time: what is compared runs here, in turn with the rounds.
    """

    after: Callable[[], object] | None = None
    began: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    """Seconds until the end of round 1, round 0's question and the folder included."""
    rounds: list[float] = field(default_factory=list)
    """Seconds of each round without writing."""
    writing: list[float] = field(default_factory=list)
    """Seconds of each round's record and checkpoint."""
    records: list[RoundRecord] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Hear nothing."""

    def round(self, record: RoundRecord, total: int) -> None:
        """Note a round."""
        if record.round == 0:
            return
        if record.round == 1:
            self.first = time.perf_counter() - self.began
        self.records.append(record)
        self.rounds.append(sum(record.seconds[phase] for phase in TRAINING))
        if record.round > 1:
            self.writing.append(record.seconds["write"])
        if self.after is not None:
            self.after()


def job_config(job: Job, rounds: int, **more: Any) -> RunConfig:
    """Return the job's configuration; ``more`` overrides keys, written with underscores."""
    values: dict[str, Any] = {
        "strategy": "fedavg",
        "hidden-widths": str(job.hidden),
        "num-clients": job.clients,
        "clients-per-round": job.per_round,
        "batch-size": job.batch_size,
        "local-steps": job.steps,
        "optimizer": "sgd",
        "learning-rate": job.learning_rate,
        "standardize": False,
        "evaluate": "none",
        "num-server-rounds": rounds,
        "seed": job.seed,
    }
    return from_mapping(values | {key.replace("_", "-"): value for key, value in more.items()}, source="benchmark")


def job_table(job: Job) -> TrainingTable:
    """Return the job's features and each client's rows."""
    features, labels = data(job)
    rows = np.arange(len(labels)).reshape(job.clients, job.examples)
    return TrainingTable(FeatureTable(features[None], labels, class_names(job.classes)), ClientRows.of(rows))


def class_names(count: int) -> tuple[str, ...]:
    """Return names of classes."""
    return tuple(f"class {number}" for number in range(count))


def run_job(config: RunConfig, training: TrainingTable, ops: ArrayOps, folder: Path, watcher: Observed) -> None:
    """Run the rounds in this process, as ``experiments run`` does, and write the run's folder.

    Raises
    ------
    RuntimeError
        If a reply was refused: what is timed then is no round.
    """
    simulate_table(
        config, training, _no_images, lambda: create_run_folder(folder, config), ClientSide(app, train, ops), watcher
    )
    for record in watcher.records:
        if record.refused:
            raise RuntimeError(f"round {record.round} of {config.strategy}: {record.reasons[0]}")


def _no_images(clients: int) -> HeldOut:
    raise AssertionError("evaluate = 'none' asks for no images")
