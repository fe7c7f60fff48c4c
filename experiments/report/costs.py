"""What clients hold, compute and send, beside what sending their data once would cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experiments.report.evidence import Run
from experiments.report.seed_groups import SeedGroup
from experiments.report.table import LABEL, Cell, Column, Table, amount, label, number, table_of
from experiments.report.units import digits, percent


def counted(groups: Sequence[SeedGroup]) -> list[SeedGroup]:
    """Return the groups whose runs counted weights, which older runs did not."""
    return [group for group in groups if _known(group, "weights_global")]


def costs_table(groups: Sequence[SeedGroup]) -> Table | None:
    """Return a row for each configuration, or None if no run counted weights."""

    def weights(name: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: number(_mean(_known(group, name)), lambda mean: digits(round(mean)))

    def share(name: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: number(_mean(_known(group, name)), percent)

    def weight_of(kind: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: amount(_mean(_known(group, f"bytes_of_{kind}")), "B")

    def crossover(kind: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: _crossover(group, kind)

    shards = "what all clients' visible patches, their places and labels weigh once"
    features = "what all clients' features weigh once, in float16, with labels"
    held = "weights that a client receives and keeps in a round, mean over clients and rounds"
    more = "first round after which more than that was sent"
    columns: dict[Column, Callable[[SeedGroup], Cell]] = {
        LABEL: label,
        Column("model", "weights of the global model"): weights("weights_global"),
        Column("held", held): weights("weights_held"),
        Column("held, %", "of the global model"): share("weights_held_share"),
        Column("most held", "by any client in any round"): weights("weights_held_max"),
        Column("active", "weights that a local step uses"): weights("weights_active"),
        Column("active, %", "of the global model"): share("weights_active_share"),
        Column("sent", "down and up, all clients, over the whole run"): lambda group: amount(
            _mean([run.summary["bytes_down"] + run.summary["bytes_up"] for run in group.runs]), "B"
        ),
        Column("shards", shards): weight_of("shards"),
        Column("more than shards", more): crossover("shards"),
        Column("features", features): weight_of("features"),
        Column("more than features", more): crossover("features"),
    }
    known = counted(groups)
    return table_of("Weights and crossover", columns, known) if known else None


def layers_table(groups: Sequence[SeedGroup]) -> Table | None:
    """Return the FLOPs of each layer, or None if no run counted them."""

    def flops(layer: str) -> Callable[[SeedGroup], Cell]:
        return lambda group: amount(_mean([_flops(run)[layer] for run in group.runs if layer in _flops(run)]), "FLOP")

    known = counted(groups)
    layers = dict.fromkeys(layer for group in known for run in group.runs for layer in _flops(run))
    columns = {LABEL: label} | {Column(layer): flops(layer) for layer in layers}
    return table_of("FLOP of one client by layer", columns, known) if layers else None


def _flops(run: Run) -> dict[str, float]:
    return run.summary.get("flops_by_layer") or {}


def _known(group: SeedGroup, name: str) -> list[float]:
    return [value for run in group.runs if (value := run.summary.get(name)) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _crossover(group: SeedGroup, kind: str) -> Cell:
    """Return the round, or the span over seeds; if only some seeds reached it, their number stands beside it."""
    if not _known(group, f"bytes_of_{kind}"):
        return Cell("unknown")
    reached = _known(group, f"crossover_round_{kind}")
    if not reached:
        return Cell("never")
    low, high = int(min(reached)), int(max(reached))
    span = f"{low}" if low == high else f"{low} to {high}"
    some = f" ({len(reached)} of {len(group.runs)} seeds)" if len(reached) < len(group.runs) else ""
    return Cell(span + some, _mean(reached))
