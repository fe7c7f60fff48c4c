"""What is shown of single clients: how well the model does for each, and which images each holds."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from experiments.report.evidence import Run
from experiments.report.figures import Figure, short
from experiments.report.seed_groups import SeedGroup
from experiments.report.summary_checks import DISTRIBUTION
from experiments.report.table import LABEL, Cell, Column, Table, label, number, table_of
from experiments.report.units import digits, percent
from server.client_table import ClientTable

MOST_TICKS = 40
"""Largest number of runs whose boxes have their seeds below them."""


def accuracy_table(groups: Sequence[SeedGroup]) -> Table | None:
    """Return how the accuracies of single clients are distributed, or None if no run knows them."""

    def mean_of(name: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: number(float(np.mean([run.summary[name] for run in _runs(group)])), percent)

    lowest, tenth, median = map(mean_of, DISTRIBUTION)
    columns: dict[Column, Callable[[SeedGroup], Cell]] = {
        LABEL: label,
        Column("clients"): _number_of_clients,
        Column("lowest, %", "of all clients, mean over seeds"): lowest,
        Column("10th percentile, %", "one client in ten is below it, mean over seeds"): tenth,
        Column("median, %", "of all clients, mean over seeds"): median,
        Column("accuracy of", number=False): lambda group: Cell(
            ", ".join(dict.fromkeys(str(run.summary["client_accuracy"].get("of", "")) for run in _runs(group)))
        ),
    }
    known = [group for group in groups if _runs(group)]
    return table_of("Accuracy of single clients", columns, known) if known else None


def _number_of_clients(group: SeedGroup) -> Cell:
    numbers = [run.summary["client_accuracy"]["number"] for run in _runs(group)]
    low, high = min(numbers), max(numbers)
    return Cell(digits(low) if low == high else f"{digits(low)} to {digits(high)}", high)


def accuracy_figure(groups: Sequence[SeedGroup]) -> Figure:
    """Return a box for each run, with a point for each client if the run lists its clients."""
    traces: list[dict[str, Any]] = []
    places: list[float] = []
    seeds: list[str] = []
    place = 0.0
    for group in groups:
        for run in _runs(group):
            place += 1
            places.append(place)
            seeds.append(str(run.seed))
            traces.append(_box(group, run, place))
        place += 0.5 if _runs(group) else 0.0
    ticks = {"tickvals": places, "ticktext": seeds} if len(places) <= MOST_TICKS else {"showticklabels": False}
    axis = {"title": {"text": "a box a run; seeds below, colours by configuration"}, "zeroline": False, **ticks}
    return {"data": traces, "layout": {"xaxis": axis, "yaxis": {"title": {"text": "accuracy of a client, %"}}}}


def _box(group: SeedGroup, run: Run, place: float) -> dict[str, Any]:
    found = run.summary["client_accuracy"]
    trace: dict[str, Any] = {
        "type": "box",
        "name": escape(group.label, quote=False),
        "meta": {"part": "clients", "group": group.index},
        "line": {"width": 1.5},
        "marker": {"size": 4, "opacity": 0.6, "line": {"width": 0}},
        "hoverinfo": "y+name",
    }
    if "percentiles" in found:
        low, first, middle, third, high = (100 * found["percentiles"][at] for at in (0, 25, 50, 75, 100))
        corners = {"lowerfence": low, "q1": first, "median": middle, "q3": third, "upperfence": high}
        return trace | {"x": [place]} | {name: short([value]) for name, value in corners.items()}
    pairs = [pair for pair in zip(found["clients"], found["accuracy"], strict=True) if pair[1] is not None]
    points = {"boxpoints": "all", "jitter": 0.5, "pointpos": 0, "x0": place}
    return (
        trace
        | points
        | {
            "y": short([100 * accuracy for _, accuracy in pairs]),
            "text": [f"client {client}" for client, _ in pairs],
            "hovertemplate": f"<b>%{{y:.2f}} %</b> %{{text}}, seed {run.seed}<br>%{{fullData.name}}<extra></extra>",
        }
    )


@dataclass(frozen=True)
class Split:
    """How images are split over clients: the figure, or without its counts the picture that the run drew."""

    name: str
    about: str
    caption: str
    figure: Figure | None
    picture: str = ""


def splits_of(groups: Sequence[SeedGroup]) -> list[Split]:
    """Return every distinct split of the images over clients, with the configurations that used it."""
    found: dict[str, tuple[Run, dict[str, None]]] = {}
    for group in groups:
        for run in group.runs:
            if (digest := _digest(run)) is not None:
                found.setdefault(digest, (run, {}))[1][label(group).text] = None
    splits: list[Split] = []
    for run, users in found.values():
        name = f"split-{sum(split.figure is not None for split in splits)}"
        splits.append(_split(name, run, "All configurations" if len(users) == len(groups) > 1 else "; ".join(users)))
    return splits


def _split(name: str, run: Run, users: str) -> Split:
    about = f"Images of each class that each client holds: {users}"
    if run.clients is not None and run.clients.labels is not None:
        return Split(name, about, f"{users}. {_sizes(run.clients)}", _heat_map(run.clients))
    assert run.split is not None
    return Split(name, about, users, None, f"data:image/png;base64,{b64encode(run.split).decode()}")


def _digest(run: Run) -> str | None:
    """Return a digest of a run's split, or None if the folder says nothing about the split."""
    if run.clients is not None and run.clients.labels is not None:
        about = "\n".join(run.clients.classes).encode() + run.clients.clients.tobytes()
        return hashlib.sha256(about + run.clients.labels.tobytes()).hexdigest()
    return None if run.split is None else hashlib.sha256(run.split).hexdigest()


def _sizes(clients: ClientTable) -> str:
    low, middle, high = (float(value) for value in np.percentile(clients.examples, [0, 50, 100]))
    return f"Clients hold {digits(low)} to {digits(high)} training images, the median {digits(middle)}."


def _heat_map(clients: ClientTable) -> Figure:
    assert clients.labels is not None
    trace = {
        "type": "heatmap",
        "name": "images",
        "meta": {"part": "split"},
        "x": [escape(name, quote=False) for name in clients.classes],
        "y": [str(client) for client in clients.clients.tolist()],
        "z": clients.labels.tolist(),
        "zmin": 0,
        "hovertemplate": "<b>%{z:,}</b> images of %{x}<br>client %{y}<extra></extra>",
    }
    return {
        "data": [trace],
        "layout": {
            "xaxis": {"title": {"text": "class"}, "type": "category", "showgrid": False},
            "yaxis": {"title": {"text": "client"}, "type": "category", "autorange": "reversed", "showgrid": False},
        },
    }


def _runs(group: SeedGroup) -> list[Run]:
    return [run for run in group.runs if run.summary.get("client_accuracy") is not None]
