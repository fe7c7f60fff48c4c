"""Suite ``rounds``: a whole round, strategy and messages included, against its bare batched products and other tools.

The job of all tools: MLP 768-256-10, SGD, 100 clients of 100 examples, 10 a round, batch 20, one local epoch, no
evaluation. IST trains a quarter and a sixteenth of 768-1000-1000-10 on the same data, 16 clients a round.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments.bench.federation import TRAINING, Observed, job_config, job_table, run_job
from experiments.bench.find_peers import time_peers
from experiments.bench.peers.job import Job
from experiments.bench.products import BareProducts
from experiments.bench.results import Comparison, Measurement, SuiteResult, compared, measured
from experiments.bench.settings import Settings
from experiments.bench.timing import Timing, ratio

WARM_UP = 5
CAVEATS = (
    "a round is drawing clients and subnets, cutting, messages as Flower objects, training, checks and averaging; its "
    "record and checkpoint are measured apart",
    "bare products: the same matrix products on random weights, updated in place, run after each round; no batches "
    "gathered, no activation, loss or bias, no copy of a weight",
    "FedAvg's ten clients begin with the same weights, and the first layer is trained by factors: nearly as much "
    "arithmetic as the bare products, but no weights of each client's own",
    "features are drawn at random: they decide no time",
)


@dataclass(frozen=True)
class Case:
    """One federation to time."""

    name: str
    job: Job
    widths: tuple[int, ...]
    strategy: str = "fedavg"
    subnets: int = 1


def cases(quick: bool) -> list[Case]:
    """Return what is timed."""
    job = Job(clients=6, examples=8, per_round=4, batch_size=4, features=12) if quick else Job()
    hidden = (16,) if quick else (256,)
    wide = (32, 32) if quick else (1000, 1000)
    ist = replace(job, per_round=4 if quick else 16)
    return [
        Case("fedavg", job, hidden),
        *(Case(f"IST, S = {count}", ist, wide, "ist", count) for count in (4, 16)),
    ]


def run(settings: Settings) -> SuiteResult:
    """Time every case, and the peers if they are asked for."""
    measurements: list[Measurement] = []
    comparisons: list[Comparison] = []
    details: dict[str, Any] = {}
    for case in cases(settings.quick):
        settings.told(f"timing {case.name}")
        found, judged, series = _time(case, settings)
        measurements += found
        comparisons += judged
        details[case.name] = series
    caveats = list(CAVEATS)
    if settings.peers:
        found, judged, said, series = time_peers(settings)
        measurements += found
        comparisons += judged
        caveats += said
        details |= series
    else:
        caveats.append("other tools are timed with --peers only")
    return SuiteResult("rounds", tuple(measurements), tuple(comparisons), tuple(caveats), details)


def _time(case: Case, settings: Settings) -> tuple[list[Measurement], list[Comparison], dict[str, Any]]:
    from fl_sparse.array_ops import TorchOps

    job = case.job
    repeats = 3 if settings.quick else 40
    parts = [job.features, *(-(-width // case.subnets) for width in case.widths), job.classes]
    bare = BareProducts(job.per_round, job.batch_size, parts, job.steps, settings.device)
    bare_times: list[float] = []

    def beside() -> None:
        began = time.perf_counter()
        bare()
        bare_times.append(time.perf_counter() - began)

    config = job_config(
        job,
        1 + WARM_UP + repeats,
        strategy=case.strategy,
        hidden_widths=",".join(map(str, case.widths)),
        # At the job's rate, random features make the small subnets' weights grow without bound.
        **({"num_subnets": case.subnets, "learning_rate": 0.001} if case.strategy == "ist" else {}),
    )
    training, ops = job_table(job), TorchOps(settings.device)
    folder = settings.out / "run"
    watched = Observed(after=beside)
    try:
        run_job(config, training, ops, folder, watched)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    whole = Timing(watched.first, tuple(watched.rounds[1 + WARM_UP :]))
    products = Timing(bare_times[0], tuple(bare_times[1 + WARM_UP :]))
    writing = Timing(watched.writing[0], tuple(watched.writing[WARM_UP:]))
    measurements = [
        measured(f"{case.name}: a round", whole),
        measured(f"{case.name}: its bare products", products),
        measured(f"{case.name}: record and checkpoint", writing),
    ]
    phases = {
        phase: float(np.median([record.seconds[phase] for record in watched.records[1 + WARM_UP :]]))
        for phase in TRAINING
    }
    series = {"rounds": whole.steady, "bare products": products.steady, "seconds by phase": phases}
    return measurements, [compared(f"{case.name}: round ÷ products", ratio(whole, products), "≤ 1.3")], series
