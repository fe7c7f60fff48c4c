"""The strategies by name. A new method is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from fl_sparse.config import RunConfig, default_of, to_mapping
from fl_sparse.config.values import shown
from fl_sparse.errors import InputError, nearest
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.closed_form import Labelled
from fl_sparse.model.mlp import hidden_axes
from fl_sparse.model.network import NetworkSpec
from fl_sparse.wire import ClientDescription
from strategies.methods.alone import Alone, AloneStrategy
from strategies.methods.closed_form import ClassMean, ClosedForm, ClosedFormStrategy, Ridge, one_round
from strategies.methods.fedavg import FedAvg
from strategies.methods.federated_dropout import FederatedDropout
from strategies.methods.fedprox import FedProx
from strategies.methods.fedrolex import FedRolex
from strategies.methods.fjord import FjORD
from strategies.methods.heterofl import HeteroFL
from strategies.methods.ist import IST
from strategies.methods.ist_capacity import ISTCapacity
from strategies.round.groups import AssignmentRule
from strategies.round.strategy import States, SubmodelStrategy
from strategies.state.server_optimizer import ServerOptimizer

STRATEGIES: Mapping[str, type[AssignmentRule]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "federated-dropout": FederatedDropout,
    "heterofl": HeteroFL,
    "fjord": FjORD,
    "fedrolex": FedRolex,
    "ist": IST,
    "ist-capacity": ISTCapacity,
    "alone": Alone,
    "ridge": Ridge,
    "class-mean": ClassMean,
}

SERVER_OPTIMIZERS = {"fedavgm": "momentum", "fedadagrad": "adagrad", "fedadam": "adam", "fedyogi": "yogi"}
"""Papers' names for FedAvg with a server optimiser; here any strategy can have one."""


def assignment_rule(config: RunConfig) -> AssignmentRule:
    """Return the assignment rule that the configuration names.

    Raises
    ------
    InputError
        For an unknown strategy, with the nearest valid name, or a key that is not at its default and
        belongs to other strategies or server optimisers.
    """
    if config.strategy in SERVER_OPTIMIZERS:
        raise InputError(
            f"strategy = {config.strategy!r} is no strategy but an option of all; "
            f"set server-optimizer = {SERVER_OPTIMIZERS[config.strategy]!r} beside strategy = 'fedavg' or any other"
        )
    if config.strategy not in STRATEGIES:
        raise InputError(f"strategy = {config.strategy!r} is unknown{nearest(config.strategy, STRATEGIES)}")
    method = STRATEGIES[config.strategy]
    values = to_mapping(config)
    for key in sorted({key for other in STRATEGIES.values() for key in other.options} - set(method.options)):
        if values[key] != default_of(key):
            takers = ", ".join(name for name, other in STRATEGIES.items() if key in other.options)
            raise InputError(
                f"{key} = {shown(values[key])}: strategy {config.strategy!r} does not take it; it is for {takers}"
            )
    if config.ridge_penalty and config.strategy != "ridge" and config.init != "ridge":
        raise InputError(
            f"ridge-penalty = {config.ridge_penalty!r}: strategy {config.strategy!r} with init = {config.init!r} has "
            "none; it is for strategy or init = 'ridge'"
        )
    ServerOptimizer.from_config(config)
    return method.from_config(config, hidden_axes(config.widths))


def effective(config: RunConfig) -> RunConfig:
    """Return the configuration that a run uses: closed forms have one round and a linear classifier."""
    return one_round(config) if issubclass(STRATEGIES[config.strategy], ClosedForm) else config


def flower_strategy(
    config: RunConfig,
    rule: AssignmentRule,
    network: NetworkSpec,
    clients: Mapping[int, ClientDescription],
    standardizer: Standardizer | None,
    states: States | None = None,
    *,
    validation: Labelled | None = None,
) -> SubmodelStrategy:
    """Return the Flower strategy of a rule; see `SubmodelStrategy` for the parameters.

    ``validation`` are the server's validation images, if it holds any: closed forms choose on them.
    """
    if isinstance(rule, ClosedForm):
        return ClosedFormStrategy(config, rule, network, clients, standardizer, validation)
    made = AloneStrategy if isinstance(rule, Alone) else SubmodelStrategy
    return made(config, rule, network, clients, standardizer, states)


def check_distributed(config: RunConfig) -> None:
    """Refuse, where clients are other processes, a strategy that runs in one process only.

    Raises
    ------
    InputError
        Naming the strategy.
    """
    if STRATEGIES.get(config.strategy) is Alone:
        raise InputError(
            f"strategy = {config.strategy!r} sends no weights, and is simulated in one process only: "
            "python -m experiments run, without --backend"
        )
