"""The job that all tools run, its data, and the one JSON line in which each reports.

Symbols: M clients, n examples of a client, F features, H hidden units, C classes.

This module needs NumPy and the standard library alone: each script runs in its tool's own environment.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Job:
    """FedAvg of an MLP F-H-C with ReLU by plain SGD; a round is one local epoch of some clients, with no evaluation."""

    clients: int = 100
    examples: int = 100
    per_round: int = 10
    batch_size: int = 20
    features: int = 768
    hidden: int = 256
    classes: int = 10
    learning_rate: float = 0.05
    seed: int = 0

    @property
    def steps(self) -> int:
        """Local steps of a round: one epoch."""
        return -(-self.examples // self.batch_size)


@dataclass(frozen=True)
class Report:
    """What a tool took.

    Parameters
    ----------
    tool, version
        Which.
    first
        Seconds from the first call of the tool to the end of round 1; imports are not in it.
    rounds
        Seconds of each later round, warm-up left out.
    caveats
        Where the tool does more or less than the job says.
    """

    tool: str
    version: str
    first: float
    rounds: tuple[float, ...]
    caveats: tuple[str, ...] = ()


def data(job: Job) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features float32 (M·n, F), standard normal, and labels int64 (M·n,); client k holds n rows from k·n on."""
    rng = np.random.default_rng(job.seed)
    rows = job.clients * job.examples
    features = rng.standard_normal((rows, job.features), dtype=np.float32)
    return features, rng.integers(job.classes, size=rows)


def arguments(given: Sequence[str] | None = None) -> tuple[Job, int, int]:
    """Return the job, the number of timed rounds, and that of warm-up rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in asdict(Job()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=3)
    found = vars(parser.parse_args(given))
    rounds, warm_up = found.pop("rounds"), found.pop("warm_up")
    return Job(**found), rounds, warm_up


def differences(started: float, ends: Sequence[float], warm_up: int) -> tuple[float, tuple[float, ...]]:
    """Return the first round's seconds, and those of the rounds after the warm-up, from times at the rounds' ends."""
    lasted = np.diff([started, *ends]).tolist()
    return lasted[0], tuple(lasted[1 + warm_up :])


def tell(report: Report) -> None:
    """Print a report as the last line of standard output."""
    print(json.dumps(asdict(report)), flush=True)
