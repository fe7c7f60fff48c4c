"""The picture of a run: accuracy by round, and by bytes sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from server.records import RoundRecord, summarize

LINES = (
    ("validation_accuracy", "validation", "#7a7a7a"),
    ("test_accuracy", "test", "#0b6e4f"),
    ("clients_accuracy", "clients' held-out", "#b3541e"),
)


def draw_accuracy(records: Sequence[RoundRecord], path: Path, *, title: str) -> None:
    """Draw accuracy by round and by megabytes, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    by_round, by_bytes = figure.subplots(1, 2, sharey=True)
    megabytes = np.cumsum([record.bytes_down + record.bytes_up for record in records]) / 1e6
    for name, label, color in LINES:
        points = [
            (record.round, sent, 100 * value)
            for record, sent in zip(records, megabytes, strict=True)
            if (value := getattr(record, name)) is not None
        ]
        if not points:
            continue
        rounds, sent, accuracy = zip(*points, strict=True)
        marker = "o" if len(points) < 3 else None
        by_round.plot(rounds, accuracy, color=color, label=label, marker=marker)
        by_bytes.plot(sent, accuracy, color=color, label=label, marker=marker)
    summary = summarize(records)
    if summary["accuracy"] is not None:
        by_round.plot(
            summary["chosen_round"], 100 * summary["accuracy"], "o", color="#d1495b", label="chosen on validation"
        )
        by_round.legend(frameon=False, loc="lower right")
    by_round.set(xlabel="round", ylabel="accuracy, %", title=title)
    by_bytes.set(xlabel="megabytes sent, both ways")
    for axes in (by_round, by_bytes):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
