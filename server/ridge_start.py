"""``init = ridge``: training starts beside the closed-form solution, a fixed linear term that subnets improve on.

Clients send the Gram matrices of their standardised features; their sum gives ridge regression exactly, however the
images are split (Fanì et al., Fed3R, ICML 2024, §3). Logits are then skip + MLP, the skip term whole in every subnet.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer
from fl_sparse.federation import HeldOut, standardized
from fl_sparse.learn.closed_form import Gram, add, best_penalty, ridge_logits
from fl_sparse.wire import content_of_gram_question, read_gram, wire_bytes
from fl_sparse.wire.exchange import ClientDescription, Parameters
from strategies.round.in_order import InOrder

log = logging.getLogger("fl_sparse.server")

QUIET = np.float32(0.1)
"""The MLP's last layer starts at a tenth, so that the linear term speaks first."""


@dataclass(frozen=True)
class RidgeStart:
    """Initial parameters with the skip term, and what the question cost on the wire.

    ``exchanged`` are the bytes down and up of each client that answered, by partition id.
    """

    parameters: Parameters = field(repr=False)
    penalty: float
    bytes_down: int
    bytes_up: int
    exchanged: Mapping[int, tuple[int, int]] = field(default_factory=dict, repr=False)


def ridge_start(
    grid: Grid,
    config: RunConfig,
    clients: Mapping[int, ClientDescription],
    standardizer: Standardizer | None,
    parameters: Parameters,
    tables: HeldOut | None,
) -> RidgeStart:
    """Ask every client for its Gram matrices and add the closed-form solution to the initial parameters.

    Raises
    ------
    InputError
        If a client refuses or answers wrongly; one that does not answer is left out, with a warning.
    """
    content = content_of_gram_question(standardizer)
    messages = [Message(content, node, "query.gram", group_id="0") for node in clients]
    sums = _Sums()
    in_order = InOrder(sorted(clients, key=lambda node: clients[node].partition_id), sums.take)
    exchanged: dict[int, tuple[int, int]] = {}
    down, up = wire_bytes(content), 0
    for reply in grid.send_and_receive(messages, timeout=config.reply_timeout):
        if reply.has_error():
            raise InputError(f"a node failed to sum its features: {str(reply.error.reason).strip()}")
        client = clients[reply.metadata.src_node_id]
        sent = wire_bytes(reply.content)
        exchanged[client.partition_id] = (down, sent)
        up += sent
        try:
            gram = read_gram(reply.content, client.num_features, len(client.classes))
        except ValueError as error:
            raise InputError(f"client {client.partition_id}: {error}") from None
        in_order.put(reply.metadata.src_node_id, gram)
    in_order.close()
    if sums.total is None:
        raise InputError("no client sent its Gram matrices")
    if sums.clients < len(clients):
        log.warning("%d of %d clients are not in the closed-form start", len(clients) - sums.clients, len(clients))
    gram = sums.total
    penalty = config.ridge_penalty
    if not penalty:
        if tables is None:
            raise InputError("ridge-penalty = 0.0 is chosen on the server's validation images; it holds none")
        penalty = best_penalty(gram, standardized(tables.validation, standardizer), tables.validation.labels)
    weight, bias = ridge_logits(gram, penalty)
    started = {name: values * QUIET if name.startswith("output.") else values for name, values in parameters.items()}
    started["skip.weight"] = np.ascontiguousarray(weight)
    started["skip.bias"] = bias
    return RidgeStart(started, penalty, down * len(messages), up, exchanged)


class _Sums:
    """A running sum, since a client's Gram matrices are larger than its model."""

    def __init__(self) -> None:
        self.total: Gram | None = None
        self.clients = 0

    def take(self, node: int, own: Gram) -> None:
        """Add a client's; its place in the sum decides the last bits."""
        self.total = own if self.total is None else add([self.total, own])
        self.clients += 1
