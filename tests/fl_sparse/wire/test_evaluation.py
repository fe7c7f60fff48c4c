"""Evaluations survive the wire, and are checked."""

import pytest
from flwr.app import MetricRecord, RecordDict

from fl_sparse.wire import EvaluationReply, content_of_evaluation, content_of_refusal, read_evaluation
from tests.fl_sparse.wire.boundary import across


def test_an_evaluation_survives_the_wire() -> None:
    reply = EvaluationReply(round=3, accuracy=0.75, loss=0.5, num_examples=12)
    assert read_evaluation(across(content_of_evaluation(reply)), round_number=3) == reply
    with pytest.raises(ValueError, match="the evaluation is for round 3; expected 4"):
        read_evaluation(content_of_evaluation(reply), round_number=4)
    with pytest.raises(ValueError, match="no data"):
        read_evaluation(content_of_refusal("no data"), round_number=3)


@pytest.mark.parametrize("changes", [{"accuracy": [0.5]}, {"num-examples": float("inf")}, {"accuracy": 2.0}])
def test_a_malformed_evaluation_is_refused(changes: dict[str, object]) -> None:
    metrics = {"round": 1, "accuracy": 0.5, "loss": 1.0, "num-examples": 3} | changes
    with pytest.raises(ValueError, match="evaluation"):
        read_evaluation(RecordDict({"metrics": MetricRecord(metrics)}), round_number=1)
