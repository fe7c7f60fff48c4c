"""The strategies by name. A new method is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError, nearest
from strategies.assignment import AssignmentRule
from strategies.fedavg import FedAvg
from strategies.ist import IST

STRATEGIES: Mapping[str, Callable[[RunConfig], AssignmentRule]] = {
    "fedavg": FedAvg.from_config,
    "ist": IST.from_config,
}


def assignment_rule(config: RunConfig) -> AssignmentRule:
    """Return the assignment rule that the configuration names.

    Raises
    ------
    InputError
        For an unknown strategy, with the nearest valid name.
    """
    if config.strategy not in STRATEGIES:
        raise InputError(f"strategy = {config.strategy!r} is unknown{nearest(config.strategy, STRATEGIES)}")
    return STRATEGIES[config.strategy](config)
