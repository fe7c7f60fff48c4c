"""The answer to an evaluation order: the whole model's score on images that a client held back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flwr.app import MetricRecord, RecordDict

from fl_sparse.wire.arrays import METRICS, record_of
from fl_sparse.wire.refusal import refusal_of


@dataclass(frozen=True)
class EvaluationReply:
    """The whole model's score on images that a client held back: accuracy a fraction, loss in nats."""

    round: int
    accuracy: float
    loss: float
    num_examples: int


def content_of_evaluation(reply: EvaluationReply) -> RecordDict:
    """Return the content of a client's evaluation."""
    metrics = {"round": reply.round, "num-examples": reply.num_examples, "accuracy": reply.accuracy, "loss": reply.loss}
    return RecordDict({METRICS: MetricRecord(dict(metrics))})


def read_evaluation(content: RecordDict, *, round_number: int) -> EvaluationReply:
    """Return a client's evaluation, checked.

    Raises
    ------
    ValueError
        With the reason for refusal.
    """
    if (reason := refusal_of(content)) is not None:
        raise ValueError(reason)
    metrics: Any = record_of(content, METRICS, MetricRecord) or {}
    try:
        found = EvaluationReply(
            metrics["round"], float(metrics["accuracy"]), float(metrics["loss"]), int(metrics["num-examples"])
        )
    except KeyError as error:
        raise ValueError(f"the evaluation lacks {error.args[0]!r}") from None
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the evaluation is malformed: {error}") from None
    if found.round != round_number:
        raise ValueError(f"the evaluation is for round {found.round}; expected {round_number}")
    if found.num_examples <= 0 or not (0.0 <= found.accuracy <= 1.0 and math.isfinite(found.loss)):
        raise ValueError(f"no evaluation: accuracy {found.accuracy}, loss {found.loss}, {found.num_examples} examples")
    return found
