"""``init = ridge``: training starts beside the closed-form solution, a fixed linear term that parts improve on.

Clients send the Gram matrices of their standardised features; their sum gives ridge regression exactly, however the
images are split (Fanì et al., Fed3R, ICML 2024, §3). Logits are then skip + MLP; every part has the whole skip term.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer
from fl_sparse.federation import HeldOut, standardized
from fl_sparse.learn.closed_form import Gram, GramSum, chosen_penalty, ridge_logits
from fl_sparse.learn.task import Parameters
from fl_sparse.model.mlp import OUTPUT, SKIP
from fl_sparse.wire import ClientDescription, content_of_gram_question, read_gram, wire_bytes
from strategies.round.in_order import InOrder
from strategies.round.replies import answers

log = logging.getLogger("fl_sparse.server")

QUIET = np.float32(0.1)
"""The MLP's last layer starts at a tenth of its values, so that the linear term dominates at first."""


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
    """Return the initial parameters with the closed-form solution, from Gram matrices that every client is asked for.

    Raises
    ------
    InputError
        If a client refuses or answers wrongly. A client that does not answer is left out, with a warning.
    """
    content = content_of_gram_question(standardizer)
    messages = [Message(content, node, "query.gram", group_id="0") for node in clients]
    sums = GramSum()
    in_order: InOrder[Gram] = InOrder(
        sorted(clients, key=lambda node: clients[node].partition_id), lambda node, own: sums.add(own)
    )
    exchanged: dict[int, tuple[int, int]] = {}
    down, up = wire_bytes(content), 0

    def read(answer: RecordDict, node: int) -> Gram:
        client = clients[node]
        try:
            return read_gram(answer, client.num_features, len(client.classes))
        except ValueError as error:
            raise ValueError(f"client {client.partition_id}: {error}") from None

    for answer in answers(grid.send_and_receive(messages, timeout=config.reply_timeout), clients, read):
        if answer.node is None:
            raise InputError(f"a node failed to sum its features: {answer.reason}")
        if answer.value is None:
            raise InputError(answer.reason)
        exchanged[clients[answer.node].partition_id] = (down, answer.sent)
        up += answer.sent
        in_order.put(answer.node, answer.value)
        del answer
    in_order.close()
    if sums.total is None:
        raise InputError("no client sent its Gram matrices")
    if sums.clients < len(clients):
        log.warning("%d of %d clients are not in the closed-form start", len(clients) - sums.clients, len(clients))
    validation = None if tables is None else (standardized(tables.validation, standardizer), tables.validation.labels)
    penalty = chosen_penalty(config.ridge_penalty, sums.total, validation)
    weight, bias = ridge_logits(sums.total, penalty)
    quiet = (OUTPUT.weight, OUTPUT.bias)
    started = {name: values * QUIET if name in quiet else values for name, values in parameters.items()}
    started[SKIP.weight] = np.ascontiguousarray(weight)
    started[SKIP.bias] = bias
    return RidgeStart(started, penalty, down * len(messages), up, exchanged)
