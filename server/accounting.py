"""What a run cost, compared with sending images or features once; docs/accounting.md says what each number counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from fl_sparse.learn.task import Parameters
from fl_sparse.model.own_models import models_of
from server.client_table import ClientTable
from server.records import RoundRecord


def crossover_round(records: Sequence[RoundRecord], once: int | None) -> int | None:
    """Return the first round by which more bytes than ``once`` were sent, down and up; None if there is none."""
    if once is None:
        return None
    spent = accumulate(record.bytes_down + record.bytes_up for record in records)
    return next((record.round for record, total in zip(records, spent, strict=True) if total > once), None)


def cost_entries(records: Sequence[RoundRecord], clients: ClientTable, parameters: Parameters) -> dict[str, Any]:
    """Return the entries of a run's summary that compare it with the global model and with sending data once."""
    size = sum(values.size for values in models_of(parameters)[0].values())
    trained = [record for record in records if record.weights_held_max]
    shards, features = clients.bytes_of_shards, clients.bytes_of_features
    return {
        "weights_global": size,
        "weights_held_share": _mean([record.weights_held / size for record in trained]),
        "weights_active_share": _mean([record.weights_active / size for record in trained]),
        "bytes_of_shards": shards,
        "bytes_of_features": features,
        "crossover_round_shards": crossover_round(records, shards),
        "crossover_round_features": crossover_round(records, features),
    }


def _mean(shares: Sequence[float]) -> float | None:
    return sum(shares) / len(shares) if shares else None
