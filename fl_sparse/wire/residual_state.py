"""The residual of error feedback in a node's state: a deployment starts a process for every message."""

from __future__ import annotations

from flwr.app import ConfigRecord, Context

from fl_sparse.codec.residual import Residual
from fl_sparse.wire.arrays import array_record, parameters_of

VALUES, ROUND = "residual", "residual-round"


def kept_residual(context: Context) -> Residual | None:
    """Return the node's residual, None if it has none."""
    if VALUES not in context.state:
        return None
    number = context.state.config_records[ROUND]["round"]
    assert isinstance(number, int)
    return Residual(number, parameters_of(context.state.array_records[VALUES]))


def keep_residual(context: Context, residual: Residual | None) -> None:
    """Store a residual in place of any before; None stores none."""
    for name in (VALUES, ROUND):
        context.state.pop(name, None)
    if residual is not None:
        context.state[VALUES] = array_record(residual.values)
        context.state[ROUND] = ConfigRecord({"round": residual.round})
