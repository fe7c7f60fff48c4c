"""Suite ``scale``: cost as the clients of a round go from 10 to 1,000, and a population of 100,000.

A population's clients hold 20 rows each, drawn with replacement from one table of 50,000 rows; 1,000 train in a round.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.child import run_child
from experiments.bench.federation import Observed, job_config, job_table, run_job
from experiments.bench.peers.job import Job
from experiments.bench.results import Comparison, Measurement, SuiteResult, measured
from experiments.bench.settings import Settings
from experiments.bench.timing import Timing

CAVEATS = (
    "clients a round: the job of suite rounds with as many clients as the largest round; sizes are run in turn",
    "population: a process of its own; one step of 20 examples a client; resident memory is read after each round",
    "memory is flat if the last tenth of the rounds has about the median resident set of the second tenth",
)


def run(settings: Settings) -> SuiteResult:
    """Time both."""
    found, judged, details = _clients(settings)
    more, held, series = _population(settings)
    return SuiteResult("scale", (*found, *more), (*judged, *held), CAVEATS, details | series)


def _clients(settings: Settings) -> tuple[list[Measurement], list[Comparison], dict[str, Any]]:
    from fl_sparse.array_ops import TorchOps

    sizes = (2, 4, 8) if settings.quick else (10, 32, 100, 320, 1000)
    base = Job(clients=max(sizes), per_round=max(sizes))
    job = replace(base, examples=8, batch_size=4, features=12, hidden=6) if settings.quick else base
    training, ops = job_table(job), TorchOps(settings.device)
    times: dict[int, list[float]] = {size: [] for size in sizes}
    firsts: dict[int, float] = {}
    warm_up = 1
    for turn in range(1 if settings.quick else 2):
        for size in sizes:
            settings.told(f"scale, turn {turn + 1}: {size} clients a round")
            watched, folder = Observed(), settings.out / "run"
            rounds = 3 if settings.quick else max(6, min(30, 1000 // size))
            try:
                run_job(job_config(replace(job, per_round=size), rounds), training, ops, folder, watched)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            times[size] += watched.rounds[1 + warm_up :]
            firsts.setdefault(size, watched.first)
    timings = {size: Timing(firsts[size], tuple(lasted)) for size, lasted in times.items()}
    medians = {size: timing.median for size, timing in timings.items()}
    smallest, largest = min(sizes), max(sizes)
    growth = medians[largest] / medians[smallest] / (largest / smallest)
    _draw(medians, settings.out / "clients-a-round.png")
    measurements = [measured(f"a round of {size} clients", timing) for size, timing in timings.items()]
    comparison = Comparison(f"cost per client, {largest} a round ÷ {smallest} a round", growth, goal="≤ 1")
    return measurements, [comparison], {"seconds by clients a round": {str(size): times[size] for size in sizes}}


def _draw(medians: dict[int, float], path: Path) -> None:
    """Draw time over clients a round, both on logarithmic axes, with the line of equal cost per client."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    sizes = np.array(sorted(medians))
    milliseconds = np.array([1e3 * medians[size] for size in sizes])
    axes.loglog(sizes, milliseconds, marker="o", label="a round")
    axes.loglog(sizes, milliseconds[0] * sizes / sizes[0], linestyle="--", color="gray", label="linear")
    axes.set_xlabel("clients a round")
    axes.set_ylabel("median time of a round, ms")
    axes.set_title("MLP 768-256-10, five steps of 20 examples a client")
    axes.legend()
    axes.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(path, dpi=120)


def _population(settings: Settings) -> tuple[list[Measurement], list[Comparison], dict[str, Any]]:
    small = {"rows": 200, "clients": 300, "examples": 4, "per-round": 5, "features": 12, "hidden": 6, "rounds": 20}
    settings.told("scale: a population of " + ("300" if settings.quick else "100,000 clients"))
    given = [part for name, value in small.items() for part in (f"--{name}", str(value))] if settings.quick else []
    ended = run_child("experiments.bench.population", [*given, "--device", settings.device])
    rounds, resident = ended.said["rounds"], ended.said["resident_bytes"]
    tenth = len(rounds) // 10
    early, late = np.median(resident[tenth : 2 * tenth]), np.median(resident[-tenth:])
    timing = Timing(ended.said["before_round_1"] + rounds[0], tuple(rounds[1:]))
    peak = ended.said["peak_bytes"]
    measurements = [
        measured("population: a round", timing),
        Measurement("population: asking all clients, before round 1", "s", ended.said["before_round_1"]),
        Measurement("population: resident, second tenth of rounds", "MB", float(early) / 1e6),
        Measurement("population: resident, last tenth of rounds", "MB", float(late) / 1e6),
    ]
    comparisons = [
        Comparison("population: median round", timing.median, *timing.quartiles()[::2], goal="≤ 1", unit="s"),
        Comparison("population: peak memory", peak / 1e9, goal="≤ 2", unit="GB"),
        Comparison("population: growth of memory", 100 * (float(late) / float(early) - 1), goal="≤ 2", unit="%"),
    ]
    return measurements, comparisons, {"population": dict(ended.said)}
