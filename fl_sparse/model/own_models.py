"""Several clients' models of their own as one mapping: ``client.3.hidden.0.weight`` is client 3's first weight.

So checkpoints, records and arrays on their way need not know whether a run has one model or many.
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
    """Return the models that `joined` put together, by partition id, ascending; none if it is a single model."""
    models = {int(client): held for client, held in nested(parameters, PREFIX).items()}
    # Files list tensors as text sorts them, client 10 before client 2.
    return {client: models[client] for client in sorted(models)}


def models_of(parameters: Parameters) -> list[Parameters]:
    """Return every model: those of the clients by partition id, ascending, or the one there is."""
    return list(separated(parameters).values()) or [parameters]
