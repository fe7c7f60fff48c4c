"""The Pareto front of accuracy and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.report.seed_groups import SeedGroup
from experiments.spread import Spread, spread


@dataclass(frozen=True)
class Offer:
    """What a group gives and costs: accuracy at the chosen round, and bytes of the whole run, both ways."""

    group: SeedGroup
    accuracy: Spread
    sent: float
    on_front: bool


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell which points (bytes, accuracy) are on the front: no other costs at most as much and is at least as good."""
    return [
        not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]


def offers(groups: Sequence[SeedGroup]) -> tuple[Offer, ...]:
    """Return accuracy and bytes of every finished group, and whether it is on the front."""
    whole = [group for group in groups if group.finished]
    accuracies = [group.over_seeds("accuracy") for group in whole]
    sent = [spread([run.summary["bytes_down"] + run.summary["bytes_up"] for run in group.runs]).mean for group in whole]
    kept = front(list(zip(sent, [entry.mean for entry in accuracies], strict=True)))
    return tuple(Offer(*entry) for entry in zip(whole, accuracies, sent, kept, strict=True))
