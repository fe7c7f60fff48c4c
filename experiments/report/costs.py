"""The section on what clients hold, compute and send, beside sending their data once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report.markup import Cell, Column, folded, paragraph, section, table
from experiments.report.results import LABEL, label
from experiments.report.seed_groups import SeedGroup
from experiments.report.units import digits, percent, quantity


def costs_section(groups: Sequence[SeedGroup]) -> str:
    """Return a row a configuration; nothing where no run counted it, as older ones did not."""
    counted = [group for group in groups if _known(group, "weights_global")]
    if not counted:
        return ""
    columns = [
        LABEL,
        Column("model", "weights of the global model"),
        Column("held", "weights that a client receives and keeps in a round, mean over clients and rounds"),
        Column("held, %", "of the global model"),
        Column("most held", "by any client in any round"),
        Column("active", "weights that a local step uses"),
        Column("active, %", "of the global model"),
        Column("sent", "down and up, all clients, over the whole run"),
        Column("shards", "what all clients' visible patches, their places and labels weigh once"),
        Column("more than shards", "first round after which more than that was sent"),
        Column("features", "what all clients' features weigh once, in float16, with labels"),
        Column("more than features", "first round after which more than that was sent"),
    ]
    rows = [
        [
            label(group),
            _mean_of(group, "weights_global"),
            _mean_of(group, "weights_held"),
            _share(group, "weights_held_share"),
            _mean_of(group, "weights_held_max"),
            _mean_of(group, "weights_active"),
            _share(group, "weights_active_share"),
            _bytes([run.summary["bytes_down"] + run.summary["bytes_up"] for run in group.runs]),
            _bytes(_known(group, "bytes_of_shards")),
            _crossover(group, "shards"),
            _bytes(_known(group, "bytes_of_features")),
            _crossover(group, "features"),
        ]
        for group in counted
    ]
    words = (
        "Sending what the clients hold to the server once is the alternative to training where it lies: from the round "
        "on in which a run has sent more than that, it has cost more bytes. Shards are what training reads of the "
        "masked images; features are what the frozen encoder makes of them."
    )
    heading = "What clients hold, and what sending their data once would cost"
    shown = table(columns, rows, name="Weights and crossover")
    return section("costs", heading, paragraph(words), shown, _layers(counted))


def _layers(groups: Sequence[SeedGroup]) -> str:
    """Return the FLOPs of each layer, folded."""
    flops = {group.index: [_flops(run.summary) for run in group.runs] for group in groups}
    layers = dict.fromkeys(layer for runs in flops.values() for run in runs for layer in run)
    if not layers:
        return ""
    rows = []
    for group in groups:
        cells = [label(group)]
        for layer in layers:
            mean = _mean([run[layer] for run in flops[group.index] if layer in run])
            cells.append(Cell("" if mean is None else quantity(mean, "FLOP"), mean))
        rows.append(cells)
    columns = [LABEL, *(Column(layer) for layer in layers)]
    words = "Matrix products of one client's local steps, forward and backward, over the whole run."
    name = "FLOP of one client by layer"
    return folded(name, paragraph(words), table(columns, rows, name=name))


def _flops(summary: Mapping[str, Any]) -> dict[str, float]:
    return dict(summary.get("flops_by_layer") or {})


def _known(group: SeedGroup, name: str) -> list[float]:
    return [value for run in group.runs if (value := run.summary.get(name)) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _mean_of(group: SeedGroup, name: str) -> Cell:
    mean = _mean(_known(group, name))
    return Cell("" if mean is None else digits(round(mean)), mean)


def _share(group: SeedGroup, name: str) -> Cell:
    mean = _mean(_known(group, name))
    return Cell("" if mean is None else percent(mean), mean)


def _bytes(values: Sequence[float]) -> Cell:
    mean = _mean(values)
    return Cell("" if mean is None else quantity(mean, "B"), mean)


def _crossover(group: SeedGroup, kind: str) -> Cell:
    """Return the round, or the span over seeds; seeds that never got there are counted."""
    if not _known(group, f"bytes_of_{kind}"):
        return Cell("unknown")
    reached = _known(group, f"crossover_round_{kind}")
    if not reached:
        return Cell("never")
    low, high = int(min(reached)), int(max(reached))
    span = f"{low}" if low == high else f"{low} to {high}"
    some = f" ({len(reached)} of {len(group.runs)} seeds)" if len(reached) < len(group.runs) else ""
    return Cell(span + some, _mean(reached))
