"""The sections on single clients: how well the model does for each, and which images each holds."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from experiments.report.evidence import Run
from experiments.report.figures import Figure
from experiments.report.markup import Cell, Column, paragraph, plot, section, table, text
from experiments.report.results import LABEL, label, legend
from experiments.report.seed_groups import SeedGroup
from experiments.report.summary_checks import DISTRIBUTION
from experiments.report.units import digits, percent
from server.client_table import ClientTable

MOST_TICKS = 40
"""Runs that still have their seed below their box."""


def accuracy_section(groups: Sequence[SeedGroup]) -> str:
    """Return how the accuracies of single clients are distributed; nothing where no run knows them."""
    known = [group for group in groups if _runs(group)]
    if not known:
        return ""
    columns = [
        LABEL,
        Column("clients"),
        Column("lowest, %", "of all clients, mean over seeds"),
        Column("10th percentile, %", "one client in ten is below it, mean over seeds"),
        Column("median, %", "of all clients, mean over seeds"),
        Column("accuracy of", number=False),
    ]
    rows = []
    for group in known:
        runs = _runs(group)
        numbers = sorted({run.summary["client_accuracy"]["number"] for run in runs})
        counts = digits(numbers[0]) if len(numbers) == 1 else f"{digits(numbers[0])} to {digits(numbers[-1])}"
        means = [float(np.mean([run.summary[name] for run in runs])) for name in DISTRIBUTION]
        kinds = dict.fromkeys(str(run.summary["client_accuracy"].get("of", "")) for run in runs)
        rows.append(
            [
                label(group),
                Cell(counts, numbers[-1]),
                *(Cell(percent(mean), mean) for mean in means),
                Cell(", ".join(kinds)),
            ]
        )
    words = (
        "How the model does for each client (under strategy alone, its own), at the round that the run's accuracy is "
        "of. Where clients evaluate, this is the accuracy on the images that each keeps back. Where the server does, "
        "it is the accuracy on the test images by class, weighted by the classes of the client's training images: it "
        "knows a client's classes, not its images."
    )
    figure = plot("clients", "Accuracy of single clients, a box a run; a summary stands in the table")
    heading = "Accuracy of single clients"
    return section(
        "clients",
        heading,
        paragraph(words),
        legend(known),
        f"<figure>{figure}</figure>\n",
        table(columns, rows, name=heading),
    )


def accuracy_figure(groups: Sequence[SeedGroup]) -> Figure:
    """Return a box a run, with a point a client where the run lists them."""
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
        return trace | {"x": [place]} | {name: _short([value]) for name, value in corners.items()}
    pairs = [pair for pair in zip(found["clients"], found["accuracy"], strict=True) if pair[1] is not None]
    points = {"boxpoints": "all", "jitter": 0.5, "pointpos": 0, "x0": place}
    return (
        trace
        | points
        | {
            "y": _short([100 * accuracy for _, accuracy in pairs]),
            "text": [f"client {client}" for client, _ in pairs],
            "hovertemplate": f"<b>%{{y:.2f}} %</b> %{{text}}, seed {run.seed}<br>%{{fullData.name}}<extra></extra>",
        }
    )


def split_section(groups: Sequence[SeedGroup]) -> tuple[str, dict[str, Figure]]:
    """Return every distinct split of the images over clients, with the configurations that used it, and its figures.

    A split whose counts the run's folder lacks is shown by the picture that the run drew.
    """
    found: dict[str, tuple[Run, dict[str, None]]] = {}
    for group in groups:
        for run in group.runs:
            if (digest := _digest(run)) is not None:
                found.setdefault(digest, (run, {}))[1][label(group).text] = None
    if not found:
        return "", {}
    parts: list[str] = []
    figures: dict[str, Figure] = {}
    for run, users in found.values():
        who = "All configurations" if len(users) == len(groups) > 1 else "; ".join(users)
        about = f"Images of each class that each client holds: {who}"
        if run.clients is None or run.clients.labels is None:
            assert run.split is not None
            source = f"data:image/png;base64,{b64encode(run.split).decode()}"
            shown = f'<img src="{source}" alt="{text(about)}">'
            parts.append(f'<figure class="picture">{shown}<figcaption>{text(who)}</figcaption></figure>\n')
            continue
        name = f"split-{len(figures)}"
        figures[name] = _heat_map(run.clients)
        parts.append(
            f"<figure>{plot(name, about)}<figcaption>{text(f'{who}. {_sizes(run.clients)}')}</figcaption></figure>\n"
        )
    words = "A row is a client, a column a class; stronger cells hold more of the client's training images."
    return section("split", "How the images are split over clients", paragraph(words), *parts), figures


def _digest(run: Run) -> str | None:
    """Return what tells a run's split from others; None if it says nothing of it."""
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


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
