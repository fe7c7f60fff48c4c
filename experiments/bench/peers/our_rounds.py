"""The job in this project: strategy fedavg in the in-process grid, with messages, checks and records."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from experiments.bench.federation import Observed, job_config, job_table, run_job
from experiments.bench.peers.job import Report, arguments, tell
from fl_sparse import __version__
from fl_sparse.array_ops import TorchOps

CAVEATS = ("writing a round's record and checkpoint is left out, as no other tool writes any",)


def main() -> None:
    """Run the job and report."""
    job, rounds, warm_up = arguments()
    training, ops = job_table(job), TorchOps()
    with tempfile.TemporaryDirectory() as folder:
        watched = Observed()
        run_job(job_config(job, 1 + warm_up + rounds), training, ops, Path(folder) / "run", watched)
    version = f"{__version__}, torch {torch.__version__}"
    tell(Report("fl-sparse", version, watched.first, tuple(watched.rounds[1 + warm_up :]), CAVEATS))


if __name__ == "__main__":
    main()
