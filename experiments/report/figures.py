"""Plotly figures as plain JSON objects; page.js gives them colours, in the light or the dark.

Every trace says in its ``meta`` which group it shows, which part (mean, interval, range, point, front) and which
measure, so that the page can colour, show and hide it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from experiments.report.curves import EXPENSES, Curve
from experiments.report.pareto import Offer
from experiments.report.seed_groups import SeedGroup
from experiments.report.units import scaled

Figure = dict[str, Any]
Curves = Mapping[str, Mapping[int, Curve]]
"""Measure (``reported``, ``validation``) to group index to curve."""

DASHES = {"solid": "", "dash": "6 4", "dot": "2 3", "dashdot": "7 3 2 3"}
"""Line styles by Plotly's names, each with the lengths of strokes and gaps in the page's key."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up")
COLOURS = 8
"""Number of colours in page.css; the ninth group takes the first colour again, with other dashes and another symbol."""

HOVER_NAME = "<br>%{fullData.name}<extra></extra>"


def dash(index: int) -> str:
    """Return the line style of a group."""
    return list(DASHES)[index // COLOURS % len(DASHES)]


def symbol(offer: Offer) -> str:
    """Return the marker of a group: filled on the front, hollow elsewhere."""
    shape = SYMBOLS[offer.group.index // COLOURS % len(SYMBOLS)]
    return shape if offer.on_front else f"{shape}-open"


def accuracy_figures(groups: Sequence[SeedGroup], curves: Curves) -> dict[str, Figure]:
    """Return accuracy against rounds and against every expense that the runs recorded."""
    every = [curve for measured in curves.values() for curve in measured.values()]
    figures = {"rounds": _accuracy_figure(groups, curves, "rounds", "rounds", 1.0)} if every else {}
    for expense in EXPENSES:
        largest = max((curve.spent[expense.name][-1] for curve in every if expense.name in curve.spent), default=0.0)
        if largest > 0:
            unit, factor = scaled(expense.unit, largest)
            title = expense.title if unit == "s" else f"{unit} · {expense.title}"
            figures[expense.name] = _accuracy_figure(groups, curves, expense.name, title, factor)
    return figures


def _accuracy_figure(groups: Sequence[SeedGroup], curves: Curves, along: str, title: str, factor: float) -> Figure:
    names = {group.index: escape(group.label, quote=False) for group in groups}
    traces = []
    for measure, measured in curves.items():
        for index, curve in measured.items():
            if along != "rounds" and along not in curve.spent:
                continue
            xs = curve.rounds if along == "rounds" else curve.spent[along]
            traces += _traces(curve, [x / factor for x in xs], index, names[index], measure)
    every = [curve for measured in curves.values() for curve in measured.values()]
    drawn = [curve for curve in every if along == "rounds" or along in curve.spent]
    seen = [value for curve in drawn for value in (*curve.lowest, *curve.highest)]
    return {"data": traces, "layout": {"xaxis": _axis(title), "yaxis": _accuracy_axis(seen)}}


def _traces(curve: Curve, xs: list[float], index: int, name: str, measure: str) -> list[dict[str, Any]]:
    def said(part: str) -> dict[str, Any]:
        return {"type": "scatter", "name": name, "meta": {"group": index, "part": part, "measure": measure}}

    def band(part: str, low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
        outline = [100 * min(1.0, value) for value in high] + [100 * max(0.0, value) for value in reversed(low)]
        x = short([*xs, *reversed(xs)])
        shape = {"x": x, "y": short(outline), "fill": "toself", "hoverinfo": "skip"}
        return said(part) | shape | {"mode": "lines", "line": {"width": 0}}

    bands = []
    spread = ""
    if curve.half is not None:
        pairs = list(zip(curve.mean, curve.half, strict=True))
        bands.append(band("interval", [mean - half for mean, half in pairs], [mean + half for mean, half in pairs]))
        bands.append(band("range", curve.lowest, curve.highest))
        spread = " ± %{customdata[1]:.2f}"
    halves = curve.half or [0.0] * len(xs)
    line = {
        "mode": "lines" if len(xs) > 2 else "lines+markers",
        "x": short(xs),
        "y": short([100 * mean for mean in curve.mean]),
        "customdata": [[r, *short([100 * h])] for r, h in zip(curve.rounds, halves, strict=True)],
        "hovertemplate": f"<b>%{{y:.2f}}{spread} %</b> in round %{{customdata[0]}}{HOVER_NAME}",
        "line": {"width": 2, "dash": dash(index)},
    }
    return [*bands, said("mean") | line]


def pareto_figure(offers: Sequence[Offer]) -> Figure:
    """Return accuracy against bytes: a point a group with its 95 % interval, and the front as steps."""
    unit, factor = scaled("B", max((offer.sent for offer in offers), default=0.0))
    kept = sorted({(offer.sent / factor, 100 * offer.accuracy.mean) for offer in offers if offer.on_front})
    steps = {
        "type": "scatter",
        "name": "front",
        "meta": {"part": "front"},
        "mode": "lines",
        "x": short([point[0] for point in kept]),
        "y": short([point[1] for point in kept]),
        "line": {"shape": "hv", "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
    }
    points = [
        {
            "type": "scatter",
            "name": escape(offer.group.label, quote=False),
            "meta": {"part": "point", "group": offer.group.index},
            "mode": "markers",
            "x": short([offer.sent / factor]),
            "y": short([100 * offer.accuracy.mean]),
            "error_y": {"array": short([100 * (offer.accuracy.half or 0.0)]), "thickness": 1.5, "width": 5}
            | {"visible": offer.accuracy.half is not None},
            "marker": {"size": 11, "symbol": symbol(offer), "line": {"width": 2}},
            "hovertemplate": f"<b>%{{y:.2f}} %</b> for %{{x:.4~g}} {unit}{HOVER_NAME}",
        }
        for offer in offers
    ]
    sent = [offer.sent for offer in offers if offer.sent > 0]
    wide = len(sent) == len(offers) > 1 and max(sent) / min(sent) > 8
    axis = {**_axis(f"{unit} · bytes sent by a whole run, down and up"), "type": "log" if wide else "linear"}
    # On a logarithmic axis, ticks at 1, 2 and 5 of every decade, written out.
    axis |= {"dtick": "D2", "tickformat": "~r"} if wide else {"rangemode": "tozero"}
    seen = [value for offer in offers for value in (offer.accuracy.lowest, offer.accuracy.highest, *_interval(offer))]
    return {"data": [steps, *points], "layout": {"xaxis": axis, "yaxis": _accuracy_axis(seen)}}


def _interval(offer: Offer) -> tuple[float, ...]:
    """Return the ends of the interval of three seeds or more."""
    half = offer.accuracy.half
    if half is None or len(offer.group.runs) < 3:
        return ()
    return (max(0.0, offer.accuracy.mean - half), min(1.0, offer.accuracy.mean + half))


def missing_figure(groups: Sequence[SeedGroup]) -> Figure:
    """Return the share of replies that were lost or refused, by round, over all seeds of a group."""
    traces = []
    for group in groups:
        missing: dict[int, int] = {}
        asked: dict[int, int] = {}
        for record in (record for run in group.runs for record in run.records if record.round > 0):
            missing[record.round] = missing.get(record.round, 0) + record.lost + record.refused
            asked[record.round] = asked.get(record.round, 0) + record.asked
        rounds = [number for number in sorted(asked) if asked[number]]
        traces.append(
            {
                "type": "scatter",
                "name": escape(group.label, quote=False),
                "meta": {"part": "mean", "group": group.index},
                "mode": "lines+markers",
                "x": rounds,
                "y": short([100 * missing[number] / asked[number] for number in rounds]),
                "line": {"width": 1.5, "dash": dash(group.index)},
                "marker": {"size": 5},
                "hovertemplate": f"<b>%{{y:.1f}} %</b> in round %{{x}}{HOVER_NAME}",
            }
        )
    return {
        "data": traces,
        "layout": {"xaxis": _axis("rounds"), "yaxis": {**_axis("lost or refused, %"), "rangemode": "tozero"}},
    }


def _axis(title: str) -> dict[str, Any]:
    return {"title": {"text": title}}


def _accuracy_axis(seen: Sequence[float]) -> dict[str, Any]:
    """Return an axis that shows these fractions. It may cut wide intervals: two seeds' would flatten the rest."""
    margin = max(0.02, 0.06 * (max(seen) - min(seen)))
    bounds = [100 * max(-0.01, min(seen) - margin), 100 * min(1.01, max(seen) + margin)]
    return {**_axis("accuracy, %"), "range": short(bounds)}


def short(values: Sequence[float]) -> list[float]:
    """Return values with six digits: more than a screen shows, in half the bytes of all digits."""
    return [float(f"{value:.6g}") for value in values]
