"""A large population in a process of its own: ``python -m experiments.bench.population``; prints one JSON line.

M clients hold n rows each of one table, drawn with replacement; a small share of them trains in a round.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from experiments.bench.child import peak_bytes, resident_bytes
from experiments.bench.federation import Observed, class_names, job_config, run_job
from experiments.bench.peers.job import Job
from fl_sparse.array_ops import TorchOps
from fl_sparse.data.partition import partition
from fl_sparse.federation import FeatureTable, TrainingTable


def main() -> None:
    """Run the rounds and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 50_000), ("clients", 100_000), ("examples", 20), ("per-round", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("features", 768), ("hidden", 256), ("rounds", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    job = Job(args.clients, args.examples, args.per_round, features=args.features, hidden=args.hidden)
    ops = TorchOps(args.device)
    rng = np.random.default_rng(job.seed)
    features = rng.standard_normal((1, args.rows, job.features), dtype=np.float32)
    labels = rng.integers(job.classes, size=args.rows)
    parts = partition("bootstrap", labels, num_clients=job.clients, data_seed=0, images_per_client=job.examples)
    training = TrainingTable(FeatureTable(features, labels, class_names(job.classes)), parts)
    resident: list[int] = []
    watched = Observed(after=lambda: resident.append(resident_bytes()))
    with tempfile.TemporaryDirectory() as folder:
        run_job(job_config(job, args.rounds), training, ops, Path(folder) / "run", watched)
    report = {
        "before_round_1": watched.first - watched.rounds[0],
        "rounds": watched.rounds,
        "writing": watched.writing,
        "resident_bytes": resident,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
