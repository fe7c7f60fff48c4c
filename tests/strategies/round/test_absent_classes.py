"""Output rows are averaged over the clients that hold their class; who holds what is said in replies and checked."""

import numpy as np
import pytest
from flwr.app import ConfigRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.wire import array_record, read_order, wire_bytes
from strategies.registry import assignment_rule
from tests.strategies.cohort_of_five import (
    AVERAGING,
    FIRST_NODE,
    Nodes,
    aggregate,
    answer,
    ask,
    configuration,
    model,
    placed,
    received,
    strategy,
    units,
)

OUTPUTS = ("output.weight", "output.bias")
CLASSES = 3
HELD = {0: (0, 1), 1: (0,), 2: (1,), 3: (0, 1), 4: (0, 1)}
"""Client -> its classes; nobody holds class 2."""


@pytest.fixture(params=AVERAGING)
def name(request) -> str:
    return request.param


def client_of(message) -> int:
    return message.metadata.dst_node_id - FIRST_NODE


def answers(messages, held) -> list:
    return [answer(m, 0.1 * (n + 1), classes=held[client_of(m)]) for n, m in enumerate(messages)]


@pytest.mark.parametrize("method", AVERAGING)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_rows_are_means_over_those_who_hold_their_class(method: str, data) -> None:
    sets = st.sets(st.integers(0, CLASSES - 1), min_size=1).map(lambda numbers: tuple(sorted(numbers)))
    held = dict(enumerate(data.draw(st.lists(sets, min_size=5, max_size=5))))
    config = configuration(method, absent_classes="masked")
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    merged = aggregate(made, answers(messages, held))
    for key in OUTPUTS:
        total, say = np.zeros(weights[key].shape), np.zeros(weights[key].shape)
        for n, message in enumerate(messages):
            client, placement = client_of(message), placed(made, message)
            weight = 10 * (client + 1) if placement.by_examples else 1
            sent = received(message)[key] + np.float32(0.1 * (n + 1))
            last = units(placement.part, config.widths)[-1]
            for row in held[client]:
                columns = (row, last) if key == "output.weight" else (row,)
                total[columns] += weight * np.float64(sent[row])
                say[columns] += weight
        expected = np.where(say > 0, total / np.maximum(say, 1), weights[key])
        np.testing.assert_allclose(merged[key], expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(merged[key][say == 0], weights[key][say == 0])
    plain = strategy(configuration(method))
    others = aggregate(plain, [answer(m, 0.1 * (n + 1)) for n, m in enumerate(ask(plain, weights))])
    for key in set(weights) - set(OUTPUTS):
        np.testing.assert_array_equal(merged[key], others[key])


def test_where_all_hold_all_nothing_changes(name: str) -> None:
    weights = model(configuration(name))
    merged = []
    for rule in ("trained", "masked"):
        made = strategy(configuration(name, absent_classes=rule))
        classes = None if rule == "trained" else tuple(range(CLASSES))
        merged.append(aggregate(made, answers(ask(made, weights), dict.fromkeys(range(5), classes))))
    for key in weights:
        np.testing.assert_array_equal(merged[0][key], merged[1][key])


@pytest.mark.parametrize("optimizer", ["momentum", "adagrad", "adam", "yogi"])
def test_a_row_that_nobody_holds_keeps_its_value_and_the_servers_moments(name: str, optimizer: str) -> None:
    config = configuration(name, server_optimizer=optimizer, absent_classes="zeroed")
    made, weights = strategy(config), model(config)
    everybody = dict.fromkeys(range(5), tuple(range(CLASSES)))
    first = aggregate(made, answers(ask(made, weights), everybody))
    before = {moment: dict(held) for moment, held in made.moments.items()}
    second = aggregate(made, answers(ask(made, first, 2), HELD), 2)
    for key in OUTPUTS:
        np.testing.assert_array_equal(second[key][2], first[key][2])
        assert (second[key][:2] != first[key][:2]).any()
        for moment, held in made.moments.items():
            np.testing.assert_array_equal(held[key][2], before[moment][key][2])
            assert (held[key][:2] != before[moment][key][:2]).any()


def test_a_row_that_nobody_holds_keeps_its_kept_moments() -> None:
    """A client's momentum may move a row that it does not hold; that counts as little as the row."""
    config = configuration("heterofl", absent_classes="masked", optimizer_state="kept")
    made, weights = strategy(config), model(config)

    def round_of(number: int, held: dict, before: dict) -> dict:
        replies = []
        for message in ask(made, before, number):
            order = read_order(message.content)
            moments = {
                moment: {key: values + np.float32(number) for key, values in kept.items()}
                for moment, kept in order.job.state.moments.items()
            }
            replies.append(answer(message, 0.1, classes=held[client_of(message)], moments=moments))
        return aggregate(made, replies, number)

    first = round_of(1, dict.fromkeys(range(5), tuple(range(CLASSES))), weights)
    before = {
        moment: {key: values.copy() for key, values in held.items()}
        for moment, held in made.optimizer_state.moments.items()
    }
    second = round_of(2, HELD, first)
    assert set(before) == {"first", "second"}
    for key in OUTPUTS:
        np.testing.assert_array_equal(second[key][2], first[key][2])
        for moment, held in made.optimizer_state.moments.items():
            np.testing.assert_array_equal(held[key][2], before[moment][key][2])
            assert (held[key][:2] != before[moment][key][:2]).all()


def test_orders_ask_only_when_absent_classes_are_not_trained(name: str) -> None:
    for rule in ("trained", "masked", "zeroed"):
        config = configuration(name, absent_classes=rule, evaluate="clients")
        made, weights = strategy(config), model(config)
        records = [message.content.config_records["config"] for message in ask(made, weights)]
        assert [record.get("absent-classes", "trained") for record in records] == [rule] * 5
        assert all("absent-classes" in record for record in records) == (rule != "trained")
        nodes = Nodes([FIRST_NODE])
        (question,) = made.configure_evaluate(1, array_record(weights), ConfigRecord(), nodes)  # type: ignore[arg-type]
        assert "absent-classes" not in question.content.config_records["config"]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (None, "client 3: the reply lacks 'classes'"),
        ((), "client 3: classes = []; expected one or more different numbers from 0 to 2, ascending"),
        ((0, 3), "client 3: classes = [0, 3]; expected one or more different numbers from 0 to 2, ascending"),
        ((1, 0), "client 3: classes = [1, 0]; expected one or more different numbers from 0 to 2, ascending"),
    ],
)
def test_a_reply_whose_classes_cannot_be_costs_only_itself(classes, words: str) -> None:
    config = configuration("heterofl", absent_classes="masked")
    made, weights = strategy(config), model(config)
    merged = aggregate(made, answers(ask(made, weights), HELD | {3: classes}))
    assert made.report.refused == 1
    assert made.report.reasons == [words]
    other = strategy(config)
    without = aggregate(other, [r for n, r in enumerate(answers(ask(other, weights), HELD)) if n != 3])
    for key in weights:
        np.testing.assert_array_equal(merged[key], without[key])


def test_the_clock_counts_one_class_until_a_reply_says_them_all() -> None:
    config = configuration("fedavg", absent_classes="masked", device_profiles="phone", round_deadline=1e9)
    made, weights = strategy(config), model(config)
    for held in ((1,), (0, 1, 2)):
        messages = ask(made, weights)
        before = {node: time.bytes_up for node, time in made._times.items()}
        replies = answers(messages, dict.fromkeys(range(5), held))
        sizes = {reply.metadata.src_node_id: wire_bytes(reply.content) for reply in replies}
        assert all(before[node] <= size for node, size in sizes.items())
        assert (before == sizes) == (held == (1,))
        aggregate(made, replies)
        assert {node: time.bytes_up for node, time in made._times.items()} == sizes


@pytest.mark.parametrize("method", ["alone", "ridge", "class-mean"])
def test_methods_that_average_no_models_refuse_it(method: str) -> None:
    reason = "clients exchange nothing" if method == "alone" else f"strategy '{method}' trains no model"
    with pytest.raises(InputError, match=f"absent-classes = 'masked': {reason}.*; expected 'trained'"):
        assignment_rule(RunConfig(strategy=method, absent_classes="masked"))


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"absent-classes = 'mask' is unknown.*masked"):
        RunConfig(absent_classes="mask")
