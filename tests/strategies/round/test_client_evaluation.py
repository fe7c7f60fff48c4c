"""Clients' evaluations: whose count, once each, and that what is refused is counted and named."""

import math
from collections.abc import Sequence

import pytest
from flwr.app import ConfigRecord, Message

from fl_sparse.wire import EvaluationReply, array_record, content_of_evaluation, content_of_refusal
from server.flower_private import number_message
from strategies.round.strategy import SubmodelStrategy
from tests.strategies.cohort_of_five import CLIENTS, FIRST_NODE, Nodes, aggregate, answer, ask, configuration, model
from tests.strategies.cohort_of_five import strategy as made_of

EVALUATED = {
    "accuracy": [0.1, 0.3, 0.2, 0.5, 0.4],
    "examples": [1, 2, 3, 4, 5],
}


def trained(**changes) -> tuple[SubmodelStrategy, list[Message], list[int]]:
    """Return a strategy after a round of training, messages to all clients, and the clients asked to evaluate."""
    config = configuration("fedavg", evaluate="clients", **changes)
    made, weights = made_of(config), model(config)
    aggregate(made, [answer(message, 0.5) for message in ask(made, weights)])
    return made, *asked(made, range(CLIENTS))


def asked(made: SubmodelStrategy, clients: Sequence[int]) -> tuple[list[Message], list[int]]:
    nodes = Nodes([FIRST_NODE + client for client in clients])
    weights = array_record(model(made.config))
    questions = list(made.configure_evaluate(1, weights, ConfigRecord(), nodes))  # type: ignore[arg-type]
    for question in questions:
        number_message(question)
    return questions, list(clients)


def opinion(question: Message, **changes) -> Message:
    client = question.metadata.dst_node_id - FIRST_NODE
    fields = {"round": 1, "accuracy": EVALUATED["accuracy"][client], "loss": 1.0}
    fields |= {"num_examples": EVALUATED["examples"][client]}
    return Message(content_of_evaluation(EvaluationReply(**(fields | changes))), reply_to=question)


def mean(clients: Sequence[int]) -> float:
    examples = [EVALUATED["examples"][client] for client in clients]
    return sum(n * EVALUATED["accuracy"][c] for n, c in zip(examples, clients, strict=True)) / sum(examples)


def from_stranger(question: Message, node: int) -> Message:
    elsewhere = Message(question.content, node, "evaluate")
    number_message(elsewhere)
    content = content_of_evaluation(EvaluationReply(1, 1.0, 0.0, 1000))
    return Message(content, reply_to=elsewhere)


@pytest.mark.parametrize("stranger", [4242, FIRST_NODE + 3], ids=["unknown", "known but not asked"])
def test_a_node_that_was_not_asked_is_refused_and_named(stranger: int) -> None:
    made, _, _ = trained()
    questions, clients = asked(made, [0, 1, 2])
    result = made.aggregate_evaluate(
        1, [from_stranger(questions[0], stranger), *(opinion(question) for question in questions)]
    )
    assert result is not None
    assert result["accuracy"] == pytest.approx(mean(clients))
    assert sorted(made.report.evaluations) == clients
    name = "node 4242" if stranger == 4242 else "client 3"
    assert made.report.reasons == [f"{name}: evaluation: the node was not asked"]
    assert (made.report.refused, made.report.lost) == (1, 0)


def test_a_second_answer_changes_nothing_and_is_timed_once(caplog) -> None:
    made, questions, clients = trained(device_profiles="raspberry-pi-4")
    again, same, _ = trained(device_profiles="raspberry-pi-4")
    again.aggregate_evaluate(1, [opinion(question) for question in same])
    doubled = opinion(questions[1], accuracy=1.0, num_examples=10**9)
    result = made.aggregate_evaluate(1, [*(opinion(question) for question in questions), doubled])
    assert result is not None
    assert result["accuracy"] == pytest.approx(mean(clients))
    assert made.report.evaluations == again.report.evaluations
    assert made.report.simulated_seconds == again.report.simulated_seconds
    assert made.report.reasons == ["client 1: evaluation: the node answered twice"]
    said = [record.getMessage() for record in caplog.records]
    assert "round 1: refused the evaluation of client 1: the node answered twice" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"round": 7}, "the evaluation is for round 7; expected 1"),
        ({"num_examples": 0}, "0 examples"),
        ({"accuracy": 1.5}, "accuracy 1.5"),
        ({"loss": math.nan}, "loss nan"),
    ],
    ids=str,
)
def test_a_bad_evaluation_is_counted_and_named(changes: dict, words: str) -> None:
    made, questions, _ = trained()
    result = made.aggregate_evaluate(1, [opinion(questions[0], **changes), *map(opinion, questions[1:])])
    assert result is not None
    assert result["accuracy"] == pytest.approx(mean([1, 2, 3, 4]))
    (reason,) = made.report.reasons
    assert reason.startswith("client 0: evaluation: ")
    assert words in reason
    assert made.report.refused == 1


def test_a_client_that_was_refused_may_answer_again() -> None:
    made, questions, clients = trained()
    stale = opinion(questions[0], round=0)
    result = made.aggregate_evaluate(1, [stale, *map(opinion, questions)])
    assert result is not None
    assert result["accuracy"] == pytest.approx(mean(clients))
    assert made.report.refused == 1


def test_refusals_alone_give_no_result() -> None:
    made, questions, _ = trained()
    replies = [Message(content_of_refusal("no image"), reply_to=question) for question in questions]
    assert made.aggregate_evaluate(1, replies) is None
    assert made.report.reasons == [f"client {client}: evaluation: no image" for client in range(CLIENTS)]
    assert made.report.evaluations == {}
