"""Clients' own models as one mapping: ``client.3.hidden.0.weight`` is client 3's first weight.

Checkpoints, records and messages then need not know whether a run has one model or many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fl_sparse.nested_names import flattened, nested

Parameters = Mapping[str, Any]

PREFIX = "client."


def joined(models: Mapping[int, Parameters]) -> dict[str, Any]:
    """Return the models of clients, by partition id, as one mapping; arrays are shared, not copied."""
    return flattened({str(client): models[client] for client in sorted(models)}, PREFIX)


def separated(parameters: Parameters) -> dict[int, dict[str, Any]]:
    """Return the models that `joined` put together, by partition id, ascending; {} for a single model."""
    models = {int(client): held for client, held in nested(parameters, PREFIX).items()}
    # Sort by number: files list tensors sorted as text, client 10 before client 2.
    return {client: models[client] for client in sorted(models)}


def models_of(parameters: Parameters) -> list[Parameters]:
    """Return every model: the clients' own by partition id, ascending, or the only one."""
    return list(separated(parameters).values()) or [parameters]
