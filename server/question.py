"""Round 0: ask every node once who it is, and merge the statistics of all features."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fl_sparse import __version__
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer, merge
from fl_sparse.wire import ClientDescription, read_description, refusal_of, wire_bytes
from server.in_process_grid import InProcessGrid
from server.population import Population
from strategies.round.replies import answers

log = logging.getLogger("fl_sparse.server")


@dataclass(frozen=True)
class Answers:
    """Who takes part: node id -> description, and what the question cost on the wire.

    ``exchanged`` are the bytes down and up of each client that answered, by partition id.
    """

    clients: Mapping[int, ClientDescription] = field(repr=False)
    bytes_down: int
    bytes_up: int
    exchanged: Mapping[int, tuple[int, int]] = field(default_factory=dict, repr=False)


def wait_for_nodes(grid: Grid, config: RunConfig, *, patience: float = 60.0, settled: float = 10.0) -> list[int]:
    """Return the node ids, once as many nodes have connected as the configuration asks for.

    Devices connect one by one: the first may take ``patience`` seconds, each further one ``settled``.

    Raises
    ------
    InputError
        If the number of nodes is 0, not ``num-clients`` (naming both, and a remedy), or below ``clients-per-round``.
    """
    nodes = list(grid.get_node_ids())
    deadline = time.monotonic() + (settled if nodes else patience)
    while len(nodes) < max(1, config.num_clients) and time.monotonic() < deadline:
        time.sleep(0.5)
        known, nodes = len(nodes), list(grid.get_node_ids())
        if len(nodes) > known:
            deadline = time.monotonic() + settled
    if not nodes:
        raise InputError("no node has connected")
    if config.num_clients and len(nodes) != config.num_clients:
        raise InputError(
            f"num-clients = {config.num_clients}, but there are {len(nodes)} nodes; "
            f"simulate with --federation-config 'num-supernodes={config.num_clients}', or leave num-clients out"
        )
    if config.clients_per_round > len(nodes):
        raise InputError(f"clients-per-round = {config.clients_per_round}, but there are {len(nodes)} nodes")
    return nodes


def ask_nodes(grid: Grid, nodes: Sequence[int], *, timeout: float) -> Answers:
    """Ask each node what it holds; an in-process grid may answer for all of its nodes at once.

    Raises
    ------
    InputError
        If a node refuses or describes itself wrongly, if two are the same client, or if they differ in software
        version, features or classes. A node that does not answer is left out, with a warning.
    """
    question = RecordDict({"config": ConfigRecord({"question": "describe"})})
    down = wire_bytes(question)
    if isinstance(grid, InProcessGrid) and (everyone := grid.population()) is not None:
        return _answers_of(everyone, down)
    messages = [Message(question, node, MessageType.QUERY, group_id="0") for node in nodes]
    clients: dict[int, ClientDescription] = {}
    exchanged: dict[int, tuple[int, int]] = {}
    up = 0
    for answer in answers(grid.send_and_receive(messages, timeout=timeout), set(nodes), _read):
        if answer.node is None:
            raise InputError(f"a node failed to describe itself: {answer.reason}")
        if answer.value is None:
            raise InputError(answer.reason)
        up += answer.sent
        clients[answer.node] = answer.value
        exchanged[answer.value.partition_id] = (down, answer.sent)
    if not clients:
        raise InputError(f"none of {len(nodes)} nodes answered within {timeout:g} s")
    if len(clients) < len(nodes):
        log.warning("%d of %d nodes did not answer round 0 and are left out", len(nodes) - len(clients), len(nodes))
    _check_alike(list(clients.values()))
    return Answers(clients, down * len(nodes), up, exchanged)


def _read(content: RecordDict, node: int) -> ClientDescription:
    if (reason := refusal_of(content)) is not None:
        raise ValueError(reason)
    try:
        return read_description(content)
    except ValueError as error:
        raise ValueError(f"node {node}: {error}") from None


def _answers_of(everyone: Population, down: int) -> Answers:
    for client in np.flatnonzero(everyone.sizes < 1):
        raise InputError(f"client {client} holds no training image")
    up = everyone.reply_bytes()
    # Share the pairs: memory holds one for each size, not for each client.
    pairs = {weight: (down, weight) for weight in np.unique(up).tolist()}
    exchanged = {client: pairs[weight] for client, weight in enumerate(up.tolist())}
    return Answers(everyone, down * len(everyone), int(up.sum()), exchanged)


def _check_alike(clients: Sequence[ClientDescription]) -> None:
    seen: set[int] = set()
    first = min(clients, key=lambda client: client.partition_id)
    for client in sorted(clients, key=lambda client: client.partition_id):
        name = f"client {client.partition_id}"
        if client.partition_id in seen:
            raise InputError(f"two nodes have partition-id = {client.partition_id}; each needs its own")
        seen.add(client.partition_id)
        if client.version != __version__:
            raise InputError(f"{name} runs fl-sparse {client.version}; this server runs {__version__}")
        if client.num_examples < 1:
            raise InputError(f"{name} holds no training image")
        if client.num_features != first.num_features:
            raise InputError(
                f"{name} computes {client.num_features} features, client {first.partition_id} {first.num_features}; "
                "all need the same encoder and pooling"
            )
        if client.classes != first.classes:
            raise InputError(
                f"{name} has {len(client.classes)} classes, client {first.partition_id} {len(first.classes)}, or their "
                "names or order differ; all need the same"
            )


def federation_standardizer(clients: Mapping[int, ClientDescription]) -> Standardizer:
    """Return the federation's exact mean and variance, merged in the order of the partition ids."""
    if isinstance(clients, Population):
        return Standardizer.of(clients.statistics())
    described = sorted(clients.values(), key=lambda client: client.partition_id)
    return Standardizer.of(merge([client.statistics for client in described]))
