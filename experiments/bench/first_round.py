"""One run in a process of its own, until its first round is about to begin; prints one JSON line.

``python -m experiments.bench.first_round RECIPE OVERRIDES OUT``; overrides are a JSON object of keys.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()

from client.app import app, train  # noqa: E402 - imports are what is timed first
from experiments.recipes import find_recipe  # noqa: E402
from fl_sparse.array_ops import TorchOps  # noqa: E402
from fl_sparse.config import from_mapping  # noqa: E402
from server.launch import Launch  # noqa: E402
from server.records import RoundRecord  # noqa: E402
from server.simulation import simulate  # noqa: E402


class FirstRound:
    """Notes when round 0 is recorded, which is when round 1 begins."""

    def __init__(self) -> None:
        self.reached = 0.0
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep what is said before the rounds."""
        self.notes.append(text)

    def round(self, record: RoundRecord, total: int) -> None:
        """Note the time."""
        if record.round == 0:
            self.reached = time.perf_counter()


def main() -> None:
    """Run one round and report."""
    recipe, overrides, out = sys.argv[1:]
    ops, watched = TorchOps(), FirstRound()
    imported = time.perf_counter()
    _, values = find_recipe(recipe)
    config = from_mapping({**values, **json.loads(overrides), "num-server-rounds": 1}, source=recipe)
    simulate(config, Launch(), Path(out), app, train, ops, watched)
    report = {"imports": imported - STARTED, "until_first_round": watched.reached - imported, "notes": watched.notes}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
