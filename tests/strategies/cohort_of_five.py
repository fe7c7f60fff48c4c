"""Five clients, a small model, and the messages of a round between them and a strategy."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from flwr.app import ConfigRecord, Message

from fl_sparse.array_ops import ArrayOps
from fl_sparse.codec.residual import Residual
from fl_sparse.config import RunConfig
from fl_sparse.features.statistics import FeatureStatistics, Standardizer
from fl_sparse.learn.learner import ClientJob, FeatureRows, train_in_turn
from fl_sparse.learn.mlp_stack.learner import MLPLearner
from fl_sparse.learn.task import Trained
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.part import Part
from fl_sparse.wire import ClientDescription, array_record, content_of_reply, parameters_of, read_order
from fl_sparse.wire.replies import reply_to
from server.flower_private import identify_process, number_message
from strategies.registry import STRATEGIES, assignment_rule
from strategies.round.groups import AssignmentRule, Placement
from strategies.round.strategy import States, SubmodelStrategy

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


def by_node(config: RunConfig) -> dict[int, ClientDescription]:
    return {FIRST_NODE + client.partition_id: client for client in cohort(config)}


def network(config: RunConfig) -> MLPSpec:
    return MLPSpec(6, config.widths, 3, config.activation, config.normalization)


def strategy(config: RunConfig, states: States | None = None, rule: AssignmentRule | None = None) -> SubmodelStrategy:
    identify_process(1, 1)
    chosen = rule or assignment_rule(config)
    return SubmodelStrategy(config, chosen, network(config), by_node(config), STANDARDIZER, states)


def model(config: RunConfig) -> dict[str, np.ndarray]:
    return init_parameters(network(config), 0)


def units(part: Part, widths: Iterable[int]) -> list[np.ndarray]:
    """The units that a part holds of each hidden layer."""
    return [part.units.get(f"hidden.{layer}", np.arange(width)) for layer, width in enumerate(widths)]


def placed(made: SubmodelStrategy, message: Message) -> Placement:
    return made._placed[message.metadata.dst_node_id].placement


def received(message: Message) -> dict[str, np.ndarray]:
    """The values that a client decodes."""
    return dict(read_order(message.content).job.part.parameters)


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
        "parameters": {name: values + np.float32(change) for name, values in order.job.part.parameters.items()},
        "num_examples": 10 * (client + 1),
        "loss": 1.0,
    }
    address = {key: altered.pop(key) for key in ("round", "number") if key in altered}
    reply, residual = reply_to(order, Trained(**(fields | altered)), kept)
    return Message(content_of_reply(replace(reply, **address)), reply_to=message), residual


def trained(
    messages: list[Message], ops: ArrayOps | None = None, kept: dict[int, Residual | None] | None = None
) -> list[Message]:
    """Train every message's order on data drawn for its client; the cohort is stacked where shapes are equal.

    ``kept`` holds the clients' residuals, and their next ones afterwards.
    """
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 6)).astype(np.float32)
    labels = rng.integers(0, 3, 150)
    residuals = {} if kept is None else kept
    orders = [read_order(message.content) for message in messages]
    clients = [message.metadata.dst_node_id - FIRST_NODE for message in messages]
    jobs = [
        # A start of its own for each job: what they begin with is stacked, never shared.
        ClientJob(order.job, client, np.arange(client * 20, client * 20 + 10 * (client + 1)), position)
        for position, (order, client) in enumerate(zip(orders, clients, strict=True))
    ]
    results = train_in_turn(MLPLearner(ops or ArrayOps()), jobs, FeatureRows(features, labels))
    replies = []
    for message, order, client, result in zip(messages, orders, clients, results, strict=True):
        reply, residuals[client] = reply_to(order, result, residuals.get(client))
        replies.append(Message(content_of_reply(reply), reply_to=message))
    return replies


def aggregate(made: SubmodelStrategy, replies: list[Message], number: int = 1) -> dict[str, np.ndarray]:
    arrays, _ = made.aggregate_train(number, replies)
    assert arrays is not None
    return parameters_of(arrays)
