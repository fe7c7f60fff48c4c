"""One round: draw, train, put together, evaluate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, MetricRecord
from flwr.serverapp import Grid

from fl_sparse.learn.evaluation import Score
from fl_sparse.learn.task import Parameters
from fl_sparse.wire import array_record, parameters_of
from server.client_accuracy import ClientAccuracy, by_client
from server.client_table import ClientTable
from server.evaluation import Examination, score_entries
from server.records import RoundRecord
from server.timed import Timed
from strategies.round.strategy import SubmodelStrategy


def play_round(
    grid: Grid,
    strategy: SubmodelStrategy,
    clients: ClientTable,
    parameters: Parameters,
    examine: Examination | None,
    number: int,
    write_seconds: float,
) -> tuple[Parameters, RoundRecord, ClientAccuracy | None]:
    """Play a round and return the next model, the round's record, and each client's accuracy where it is known.

    Parameters
    ----------
    grid, strategy
        The run's.
    clients
        Who holds what.
    parameters
        The model before the round.
    examine
        Evaluates on the server's images; None if it holds none.
    number
        The round, from 1.
    write_seconds
        What writing the round before took.
    """
    config, times = strategy.config, [time.perf_counter()]
    arrays, nothing = array_record(parameters), ConfigRecord()
    messages = list(strategy.configure_train(number, arrays, nothing, grid))
    times.append(time.perf_counter())
    replies = Timed(lambda: grid.send_and_receive(messages, timeout=config.reply_timeout) if messages else ())
    aggregated, _ = strategy.aggregate_train(number, replies)
    # In-process, clients train while the server adds up; what was spent waiting for replies counts as training.
    times.append(times[-1] + replies.seconds)
    arrays = arrays if aggregated is None else aggregated
    parameters = parameters_of(arrays)
    times.append(time.perf_counter())
    scores: Mapping[str, Score] = {}
    opinion: MetricRecord | None = None
    if number % config.evaluate_every == 0 or number == config.num_server_rounds:
        questions = list(strategy.configure_evaluate(number, arrays, nothing, grid))
        opinions = list(grid.send_and_receive(questions, timeout=config.reply_timeout)) if questions else []
        scores = {} if examine is None else examine(parameters)
        opinion = strategy.aggregate_evaluate(number, opinions)
    times.append(time.perf_counter())
    report = strategy.report
    phases = np.diff(times).tolist()
    # Writing is known only after the record: this is the round before's.
    seconds = dict(zip(("configure", "train", "aggregate", "evaluate"), phases, strict=True)) | {"write": write_seconds}
    entries = report.entries() | score_entries(scores) | _opinion(opinion)
    record = RoundRecord(round=number, seconds=seconds, **entries)
    return parameters, record, by_client(number, clients, scores, report.evaluations)


def _opinion(metrics: MetricRecord | None) -> dict[str, Any]:
    if metrics is None:
        return {}
    return {"clients_accuracy": metrics["accuracy"], "clients_loss": metrics["loss"]}
