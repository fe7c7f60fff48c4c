"""Time the same job in other tools: each script in an environment of its own, in turn with ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.bench.results import Comparison, Measurement, compared, measured
from experiments.bench.settings import Settings
from experiments.bench.timing import Timing, ratio
from fl_sparse.errors import InputError, nearest

ROOT = Path(__file__).resolve().parents[2]
OURS = "ours"
SCRIPTS = {
    OURS: "our_rounds",
    "plain": "plain_rounds",
    "pfl": "pfl_rounds",
    "fluke": "fluke_rounds",
    "flower": "flower_rounds",
}
GOALS = {"plain": "≥ 3.5", "pfl": "≥ 4", "flower": "≥ 60"}
OWN = ("plain", "flower")
"""Peers that the project's own environment has."""
PATIENCE = 300.0


def find_peers(given: Sequence[str]) -> dict[str, Path]:
    """Return each peer's Python: as given by ``NAME=PYTHON``, this one's, or that of ``.venv-NAME`` in the checkout.

    A peer without one is named with a path that does not exist, so that the results say what was missing.

    Raises
    ------
    InputError
        For an unknown name, or a path that is no file.
    """
    peers = {name: Path(sys.executable) if name in OWN else ROOT / f".venv-{name}/bin/python" for name in _names()}
    for text in given:
        name, _, path = text.partition("=")
        if name not in peers:
            raise InputError(f"--peer {text}: unknown tool {name!r}{nearest(name, peers)}")
        if not Path(path).is_file():
            raise InputError(f"--peer {text}: {path or 'nothing'} is no Python; expected NAME=PATH/bin/python")
        peers[name] = Path(path)
    return peers


def _names() -> list[str]:
    return [name for name in SCRIPTS if name != OURS]


def time_peers(settings: Settings) -> tuple[list[Measurement], list[Comparison], list[str], dict[str, Any]]:
    """Run every tool in turn, several times, and compare the others' rounds with ours.

    Returns
    -------
    measurements, comparisons, caveats, details
        A tool that is not installed or that fails is named in the caveats.
    """
    pythons = {OURS: Path(sys.executable), **settings.peers}
    missing = {name: f"not timed: there is no {path}" for name, path in pythons.items() if not path.is_file()}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons if name not in missing}
    for cycle in range(1 if settings.quick else 3):
        for name in list(found):
            settings.told(f"peers, turn {cycle + 1}: {name}")
            try:
                found[name].append(_run(name, pythons[name], settings.quick))
            except InputError as error:
                missing[name] = f"not timed: {error}"
                del found[name]
    caveats = [f"{name}: {reason}" for name, reason in missing.items()]
    timings = {name: _timing(reports) for name, reports in found.items()}
    measurements, comparisons = [], []
    for name, reports in found.items():
        label = f"{reports[0]['tool']} {reports[0]['version'].split(',')[0]}"
        measurements.append(measured(f"the job, a process each: {label}", timings[name]))
        caveats += [f"{name}: {caveat}" for caveat in reports[0]["caveats"]]
        if name != OURS and OURS in timings:
            faster = ratio(timings[name], timings[OURS])
            comparisons.append(compared(f"{label} ÷ ours, a round", faster, GOALS.get(name, "")))
            first = timings[name].first / timings[OURS].first
            comparisons.append(Comparison(f"{label} ÷ ours, first round", first))
    return measurements, comparisons, caveats, {"peers": found, "not timed": missing}


def _timing(reports: Sequence[Mapping[str, Any]]) -> Timing:
    firsts = sorted(report["first"] for report in reports)
    return Timing(firsts[len(firsts) // 2], tuple(second for report in reports for second in report["rounds"]))


def _run(name: str, python: Path, quick: bool) -> dict[str, Any]:
    command = [str(python), "-m", f"experiments.bench.peers.{SCRIPTS[name]}"]
    if quick:
        command += ["--rounds", "2", "--warm-up", "1", "--clients", "4", "--per-round", "2", "--examples", "8"]
        command += ["--batch-size", "4", "--features", "12", "--hidden", "6", "--classes", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLWR_TELEMETRY_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"no answer within {PATIENCE:g} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise InputError(f"exit code {done.returncode}: {said[-1] if said else 'no word of why'}")
    report: dict[str, Any] = json.loads(lines[-1])
    return report
