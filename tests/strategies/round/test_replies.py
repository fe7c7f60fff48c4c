"""What a bad, late, double or missing reply costs: its own subnet's step and nothing else."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from fl_sparse.wire import array_record, content_of_refusal, read_order
from server.flower_private import number_message
from tests.strategies.cohort_of_five import (
    CLIENTS,
    aggregate,
    answer,
    ask,
    configuration,
    model,
    strategy,
)


@pytest.mark.parametrize(
    ("altered", "words"),
    [
        ({"round": 7}, "for round 7; expected 1"),
        ({"number": 99}, "for subnet 99"),
        ({"num_examples": 0}, "num-examples = 0"),
        ({"parameters": {}}, "missing"),
    ],
)
def test_a_bad_reply_costs_its_own_step_only(name: str, altered: dict, words: str) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    replies = [answer(message, 0.5) for message in messages]
    replies[2] = answer(messages[2], 0.5, **altered)
    merged = aggregate(made, replies)
    assert (made.report.asked, made.report.answered, made.report.refused, made.report.lost) == (CLIENTS, CLIENTS, 1, 0)
    assert made.report.reasons[0].startswith("client 2: ")
    assert words in made.report.reasons[0]

    without = strategy(config)
    messages = ask(without, weights)
    expected = aggregate(without, [answer(m, 0.5) for n, m in enumerate(messages) if n != 2])
    assert without.report.lost == 1
    for key in weights:
        np.testing.assert_array_equal(merged[key], expected[key])


def test_nan_is_refused_and_named(name: str, caplog) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    aggregate(made, [answer(messages[0], float("nan")), *(answer(m) for m in messages[1:])])
    assert "not finite" in made.report.reasons[0]
    assert any("client 0" in record.getMessage() for record in caplog.records)


def test_strangers_doubles_and_errors_are_counted_right(name: str, caplog) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    stranger = Message(RecordDict(), 4242, "train")
    number_message(stranger)
    failed = Message(Error(code=4, reason="node gone"), reply_to=messages[1])
    replies = [answer(messages[0]), answer(messages[0]), answer(stranger_like(stranger)), failed]
    aggregate(made, replies)
    assert made.report.answered == 1
    assert made.report.refused == 2
    assert made.report.lost == CLIENTS - 1
    said = [record.getMessage() for record in caplog.records]
    assert "round 1: a client failed: node gone" in said
    assert any(line.startswith("round 1: no answer from client 1, client 2") for line in said)


def stranger_like(message: Message) -> Message:
    from flwr.app import Message as Made

    order = {"arrays": array_record({}), "config": ConfigRecord(_order_config())}
    made = Made(RecordDict(order), message.metadata.dst_node_id, "train")
    number_message(made)
    return made


def _order_config() -> dict:
    return {
        "round": 1,
        "subnet": 0,
        "scales": [1.0],
        "activation": "relu",
        "normalization": "none",
        "optimizer": "sgd",
        "learning-rate": 0.1,
        "momentum": 0.0,
        "proximal": 0.0,
        "first-step": 0,
        "local-steps": 1,
        "batch-size": 1,
        "seed": 0,
        "expects-standardizer": False,
    }


def test_no_usable_reply_leaves_the_model(name: str) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    assert made.aggregate_train(1, []) == (None, None)
    refusals = [Message(content_of_refusal("no data"), reply_to=message) for message in messages]
    assert made.aggregate_train(1, refusals) == (None, None)


def test_a_node_that_answers_late_and_then_in_time_is_counted_once(name: str) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    late = answer(messages[0], 0.5, round=0)
    aggregate(made, [late, *(answer(message, 0.5) for message in messages[:-1])])
    assert (made.report.answered, made.report.refused, made.report.lost) == (CLIENTS - 1, 1, 1)


@pytest.mark.parametrize("update_format", ["bfloat16", "int8"])
def test_an_update_that_is_not_finite_is_refused_in_every_format(name: str, update_format: str) -> None:
    config = configuration(name, update_format=update_format)
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    bad = [answer(messages[0], float("nan")), answer(messages[1], float("inf"))]
    aggregate(made, [*bad, *(answer(message, 0.5) for message in messages[2:])])
    assert made.report.refused == 2
    assert all("not finite" in reason for reason in made.report.reasons)


@pytest.mark.parametrize("update_format", ["bfloat16", "int8"])
def test_trained_weights_in_place_of_an_update_are_refused(name: str, update_format: str) -> None:
    config = configuration(name)
    made, plain, weights = strategy(configuration(name, update_format=update_format)), strategy(config), model(config)
    asked, messages = ask(made, weights), ask(plain, weights)
    # As a client of another version would answer, that does not know the key.
    plain_replies = [Message(answer(m).content, reply_to=q) for m, q in zip(messages, asked, strict=True)]
    assert made.aggregate_train(1, plain_replies) == (None, None)
    assert made.report.refused == CLIENTS
    words = "is float32; expected uint16" if update_format == "bfloat16" else "missing"
    assert all(words in reason for reason in made.report.reasons)


def test_a_lost_or_refused_update_leaves_no_residual_to_apply() -> None:
    config = configuration("fedavg", update_format="int8", error_feedback=True)
    made, weights = strategy(config), model(config)
    for number, expected in ((1, [0] * 5), (2, [1] * 5), (3, [1, 1, 2, 2, 2]), (4, [3] * 5)):
        messages = ask(made, weights, number)
        assert [read_order(message.content).update.residual_round for message in messages] == expected
        replies = [answer(message, 0.1) for message in messages]
        if number == 2:
            # Client 0 trains but is not heard, client 1 is refused: both then hold a residual of round 2, not of 1.
            replies = [answer(messages[1], 0.1, num_examples=0), *replies[2:]]
        aggregate(made, replies, number)
