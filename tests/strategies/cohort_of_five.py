"""Five clients, a small model, and the messages of a round between them and a strategy."""

from collections.abc import Iterable

import numpy as np
from flwr.app import ConfigRecord, Message

from fl_sparse.codec.error_feedback import Residual, encode_update
from fl_sparse.config import RunConfig
from fl_sparse.features.statistics import FeatureStatistics, Standardizer
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire import array_record, content_of_reply, parameters_of, read_order
from fl_sparse.wire.exchange import ClientDescription, TrainReply
from server.flower_private import identify_process, number_message
from strategies.registry import STRATEGIES, assignment_rule
from strategies.round.strategy import SubmodelStrategy

CLIENTS = 5
FIRST_NODE = 1000
STANDARDIZER = Standardizer(np.zeros(6, np.float32), np.ones(6, np.float32))


class Nodes:
    """The part of a grid that a strategy asks."""

    def __init__(self, order: Iterable[int]) -> None:
        self.order = list(order)

    def get_node_ids(self) -> list[int]:
        return self.order


SUMS = "trains and averages no weights: sums of features, once; its laws are in test_closed_form_cells.py"
EXCLUDED = {
    "alone": "averages nothing: each client keeps its own model; its laws are in test_alone.py",
    "ridge": SUMS,
    "class-mean": SUMS,
}
"""Strategies that the laws of the others are not about, and why."""
AVERAGING = sorted(set(STRATEGIES) - set(EXCLUDED))

WHOLE = ("fedavg", "fedprox", "alone")
NEEDS = {"fedprox": {"proximal": 0.1}}
"""Methods of whole models admit no other capacity than 1; some methods need an option."""


def configuration(name: str, **changes) -> RunConfig:
    keys = {"hidden_widths": "9,7", "local_steps": 2, "batch_size": 4} | NEEDS.get(name, {})
    if name not in WHOLE:
        keys["capacities"] = "1,0.5,0.4"
    if "num-subnets" in STRATEGIES[name].options:
        keys["num_subnets"] = 3
    return RunConfig(strategy=name, **(keys | changes))


def description(client: int, capacity: float = 1.0) -> ClientDescription:
    return ClientDescription(
        client, 10 * (client + 1), 6, ("a", "b", "c"), capacity, FeatureStatistics(1, np.zeros(6), np.zeros(6)), ""
    )


def cohort(config: RunConfig) -> list[ClientDescription]:
    return [description(client, config.capacity_of(client)) for client in range(CLIENTS)]


def strategy(config: RunConfig) -> SubmodelStrategy:
    identify_process(1, 1)
    clients = {FIRST_NODE + client.partition_id: client for client in cohort(config)}
    return SubmodelStrategy(config, assignment_rule(config), clients, STANDARDIZER)


def model(config: RunConfig) -> dict[str, np.ndarray]:
    return init_parameters(MLPSpec(6, config.widths, 3, config.activation, config.normalization), 0)


def ask(made: SubmodelStrategy, weights: dict[str, np.ndarray], number: int = 1, order=None) -> list[Message]:
    nodes = Nodes(order or [FIRST_NODE + client for client in range(CLIENTS)])
    messages = list(made.configure_train(number, array_record(weights), ConfigRecord(), nodes))  # type: ignore[arg-type]
    for message in messages:
        number_message(message)
    return messages


def answer(message: Message, change: float = 0.0, kept: Residual | None = None, **altered) -> Message:
    return answer_and_residual(message, change, kept, **altered)[0]


def answer_and_residual(
    message: Message, change: float = 0.0, kept: Residual | None = None, **altered
) -> tuple[Message, Residual | None]:
    order = read_order(message.content)
    client = message.metadata.dst_node_id - FIRST_NODE
    fields = {
        "round": order.round,
        "subnet": order.subnet,
        "parameters": {name: values + np.float32(change) for name, values in order.parameters.items()},
        "num_examples": 10 * (client + 1),
        "loss": 1.0,
    }
    reply, residual = encode_update(order, TrainReply(**(fields | altered)), kept)
    return Message(content_of_reply(reply), reply_to=message), residual


def aggregate(made: SubmodelStrategy, replies: list[Message], number: int = 1) -> dict[str, np.ndarray]:
    arrays, _ = made.aggregate_train(number, replies)
    assert arrays is not None
    return parameters_of(arrays)
