"""What every strategy must keep, whatever it assigns."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from fl_sparse.errors import InputError
from fl_sparse.part import WHOLE
from fl_sparse.wire import (
    TrainOrder,
    array_record,
    content_of_refusal,
    read_evaluation_order,
    read_order,
    wire_bytes,
)
from server.flower_private import number_message
from strategies.registry import STRATEGIES, assignment_rule
from strategies.round.groups import Group, by_position
from strategies.state.residuals import check_error_feedback
from tests.strategies.cohort_of_five import (
    CLIENTS,
    FIRST_NODE,
    Nodes,
    aggregate,
    answer,
    answer_and_residual,
    ask,
    cohort,
    configuration,
    model,
    network,
    placed,
    received,
    strategy,
    units,
)


def test_unchanged_updates_give_the_same_model_bit_for_bit(name: str) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    merged = aggregate(made, [answer(message) for message in ask(made, weights)])
    for key, values in weights.items():
        np.testing.assert_array_equal(merged[key], values)


def test_aggregation_is_the_weighted_mean_over_holders(name: str) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    merged = aggregate(made, [answer(message, change=0.1 * (n + 1)) for n, message in enumerate(messages)])
    for key, values in weights.items():
        total, held = np.zeros(values.shape), np.zeros(values.shape)
        for n, message in enumerate(messages):
            placement = placed(made, message)
            client = message.metadata.dst_node_id - FIRST_NODE
            weight = 10 * (client + 1) if placement.by_examples else 1
            sent = received(message)[key] + np.float32(0.1 * (n + 1))
            index = placement.part.index(network(config).model[key])
            axes = [range(size) if own is None else own for own, size in zip(index, values.shape, strict=True)]
            for place, value in zip(np.ndindex(*sent.shape), sent.ravel(), strict=True):
                whole = tuple(axis[p] for axis, p in zip(axes, place, strict=True))
                total[whole] += weight * float(value)
                held[whole] += weight
        expected = np.where(held > 0, total / np.maximum(held, 1), values)
        np.testing.assert_allclose(merged[key], expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(merged[key][held == 0], values[held == 0])


def test_the_order_of_nodes_and_replies_does_not_matter(name: str) -> None:
    config = configuration(name, clients_per_round=3)
    weights = model(config)
    forward, backward = strategy(config), strategy(config)
    nodes = [FIRST_NODE + client for client in range(CLIENTS)]
    one = aggregate(forward, [answer(m, 0.01 * m.metadata.dst_node_id) for m in ask(forward, weights, order=nodes)])
    two = aggregate(
        backward, [answer(m, 0.01 * m.metadata.dst_node_id) for m in ask(backward, weights, order=nodes[::-1])][::-1]
    )
    for key in weights:
        np.testing.assert_array_equal(one[key], two[key])


def test_a_round_asks_as_many_clients_as_configured(name: str) -> None:
    config = configuration(name, clients_per_round=2)
    made, weights = strategy(config), model(config)
    asked = [{m.metadata.dst_node_id for m in ask(made, weights, number)} for number in range(1, 30)]
    assert {len(nodes) for nodes in asked} == {2}
    assert set.union(*asked) == {FIRST_NODE + client for client in range(CLIENTS)}


def test_the_standardizer_goes_with_the_first_message_and_again_when_a_node_refuses(name: str) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    assert all(read_order(message.content).standardizing.sent is not None for message in messages)
    replies = [answer(message) for message in messages]
    replies[3] = Message(content_of_refusal("the node holds no standardizer"), reply_to=messages[3])
    aggregate(made, replies)
    sent = [read_order(message.content).standardizing.sent is not None for message in ask(made, weights, 2)]
    assert sent == [False, False, False, True, False]


def test_messages_share_a_content_where_they_say_the_same(name: str) -> None:
    made, weights = strategy(configuration(name)), model(configuration(name))
    silent = FIRST_NODE + 1
    for number in (1, 2):
        messages = ask(made, weights, number)
        said = []
        for message in messages:
            order = read_order(message.content)
            told = order.standardizing.sent is not None
            assert told is not (number == 2 and message.metadata.dst_node_id != silent)
            cut = b"".join(values.tobytes() for values in received(message).values())
            said.append((without_values(order), cut, told))
        for (one, other), (first, second) in zip(
            itertools.combinations(messages, 2), itertools.combinations(said, 2), strict=True
        ):
            assert (one.content is other.content) is (first == second)
        aggregate(made, [answer(message) for message in messages if message.metadata.dst_node_id != silent], number)


def without_values(order: TrainOrder) -> TrainOrder:
    job = replace(order.job, part=replace(order.job.part, parameters={}))
    return replace(order, job=job, standardizing=replace(order.standardizing, sent=None))


def test_dropped_bias_updates_leave_every_bias(name: str) -> None:
    config = configuration(name, bias_updates="drop")
    made, weights = strategy(config), model(config)
    merged = aggregate(made, [answer(message, 0.5) for message in ask(made, weights)])
    for key, values in weights.items():
        assert np.array_equal(merged[key], values) == key.endswith(".bias")


def test_clients_evaluate_the_whole_model_when_asked_to(name: str) -> None:
    config = configuration(name, evaluate="clients")
    made, weights = strategy(config), model(config)
    ask(made, weights)
    nodes = Nodes([FIRST_NODE + client for client in range(CLIENTS)])
    questions = list(made.configure_evaluate(1, array_record(weights), ConfigRecord(), nodes))  # type: ignore[arg-type]
    for message in questions:
        number_message(message)
        part = read_evaluation_order(message.content).job.part
        assert {key: values.shape for key, values in part.parameters.items()} == {
            key: values.shape for key, values in weights.items()
        }
        assert set(part.scales) == {1.0}
    metrics = [
        MetricRecord({"accuracy": 0.2 * n, "loss": 1.0, "num-examples": n + 1, "round": 1}) for n in range(CLIENTS)
    ]
    replies = [Message(RecordDict({"metrics": m}), reply_to=q) for m, q in zip(metrics, questions, strict=True)]
    result = made.aggregate_evaluate(1, replies[::-1])
    assert result is not None
    assert result["accuracy"] == pytest.approx(sum(0.2 * n * (n + 1) for n in range(CLIENTS)) / 15)


@pytest.mark.parametrize("optimizer", ["momentum", "adagrad", "adam", "yogi"])
def test_server_optimizers_touch_only_what_the_round_covered(name: str, optimizer: str) -> None:
    config = configuration(name, server_optimizer=optimizer)
    made, weights = strategy(config), model(config)
    merged = aggregate(made, [answer(message, 0.5) for message in ask(made, weights)[:1]])
    plain = strategy(configuration(name))
    averaged = aggregate(plain, [answer(message, 0.5) for message in ask(plain, weights)[:1]])
    for key, values in weights.items():
        held = averaged[key] != values
        np.testing.assert_array_equal(merged[key][~held], values[~held])
        assert (merged[key][held] > values[held]).all()
        start = 0.0 if optimizer == "momentum" else config.server_tau**2
        last = made.moments["first" if optimizer == "momentum" else "second"][key]
        assert ((last != np.float32(start)) == held).all()
    again = aggregate(made, [answer(message) for message in ask(made, merged, 2)], 2)
    assert any((again[key] != merged[key]).any() for key in weights)


def test_clients_that_drop_out_are_asked_and_lost(name: str) -> None:
    config = configuration(name, dropout_probability=0.4)
    made, again, weights = strategy(config), strategy(config), model(config)
    reached = []
    for number in range(1, 41):
        messages = ask(made, weights, number)
        assert [m.metadata.dst_node_id for m in ask(again, weights, number)] == [
            m.metadata.dst_node_id for m in messages
        ]
        made.aggregate_train(number, [answer(message) for message in messages])
        assert (made.report.asked, made.report.lost) == (CLIENTS, CLIENTS - len(messages))
        reached.append(len(messages))
    assert 0.5 < np.mean(reached) / CLIENTS < 0.7
    # Without a draw to drop out the same round asks the same clients for the same parts.
    steady = strategy(configuration(name))
    whole = {m.metadata.dst_node_id: read_order(m.content).number for m in ask(steady, weights, 40)}
    part = {m.metadata.dst_node_id: read_order(m.content).number for m in messages}
    assert part.items() <= whole.items()
    assert steady.report.bytes_down > 0


def test_a_round_counts_the_bytes_and_weights_of_its_messages(name: str) -> None:
    config = configuration(name)
    made = strategy(config)
    messages = ask(made, model(config))
    orders = [read_order(message.content) for message in messages]
    held = [sum(values.size for values in order.job.part.parameters.values()) for order in orders]
    report = made.report
    assert report.bytes_down == sum(wire_bytes(message.content) for message in messages)
    assert (report.weights_held, report.weights_held_max) == (sum(held) / len(held), max(held))
    if any(order.job.part.prefixes for order in orders):
        assert 0 < report.weights_active < report.weights_held
    else:
        assert report.weights_active == report.weights_held
    assert report.flops_per_client == pytest.approx(sum(report.flops_by_layer.values()))


def test_no_client_trains_more_than_its_capacity(name: str) -> None:
    config = configuration(name)
    rule, clients = assignment_rule(config), cohort(config)
    for number in range(1, 30):
        for client, group in zip(clients, by_position(rule.place(number, clients)), strict=True):
            for held, width in zip(units(group.placement.part, config.widths), config.widths, strict=True):
                assert 1 <= len(held) <= math.ceil(client.capacity * width)
                assert held[-1] < width


def test_placing_is_a_function_of_the_round_and_the_clients(name: str) -> None:
    config = configuration(name)
    one, other = assignment_rule(config), assignment_rule(config)
    for number in (3, 1, 2, 3):
        groups, again = one.place(number, cohort(config)), other.place(number, cohort(config))
        for left, right in zip(by_position(groups), by_position(again), strict=True):
            assert (left.number, left.positions) == (right.number, right.positions)
            assert replace(left.placement, part=WHOLE) == replace(right.placement, part=WHOLE)
            assert same_units(left, right)
            assert left.placement.part.digest == right.placement.part.digest


def test_whole_parts_make_it_federated_averaging(name: str) -> None:
    """With capacity for everything and one subnet, every method is FedAvg (of clients that count alike)."""
    whole = {"capacities": "1"} | ({"num_subnets": 1} if "num-subnets" in STRATEGIES[name].options else {})
    config, plain = configuration(name, **whole), configuration("fedavg")
    weights, merged = model(plain), []
    for chosen in (config, plain):
        made = strategy(chosen)
        messages = ask(made, weights)
        assert all(set(read_order(message.content).job.part.scales) == {1.0} for message in messages)
        replies = [answer(message, 0.1 * n, num_examples=10) for n, message in enumerate(messages)]
        merged.append(aggregate(made, replies))
    for key in weights:
        np.testing.assert_array_equal(merged[0][key], merged[1][key])


def test_every_format_gives_the_same_average_within_its_rounding(name: str) -> None:
    weights = model(configuration(name))
    rng = np.random.default_rng(0)
    changes = {key: rng.normal(scale=0.1, size=values.shape).astype(np.float32) for key, values in weights.items()}
    largest = max(float(np.abs(values).max()) for values in changes.values())
    merged, sent = {}, {}
    for update_format, error in (("float32", 0.0), ("bfloat16", 2**-8 * largest), ("int8", largest / 254)):
        made = strategy(configuration(name, update_format=update_format))
        messages = ask(made, weights)
        assert made.report.bytes_down == sum(wire_bytes(message.content) for message in messages)
        replies = []
        for message in messages:
            own = placed(made, message).part.cut(made.network.model, changes)
            cut = received(message)
            replies.append(answer(message, parameters={key: values + own[key] for key, values in cut.items()}))
        merged[update_format] = aggregate(made, replies)
        sent[update_format] = made.report.bytes_up
        assert made.report.bytes_up == sum(wire_bytes(reply.content) for reply in replies)
        assert made.report.refused == 0
        for key in weights:
            # A mean errs no more than what it is of; and by float32's rounding of sums of about 1.
            np.testing.assert_allclose(
                merged[update_format][key], merged["float32"][key], rtol=0, atol=error + 4 * 2**-24
            )
    assert sent["bfloat16"] < sent["float32"]


def test_unchanged_weights_stay_in_every_format(name: str) -> None:
    for update_format in ("bfloat16", "int8"):
        config = configuration(name, update_format=update_format)
        made, weights = strategy(config), model(config)
        merged = aggregate(made, [answer(message) for message in ask(made, weights)])
        for key, values in weights.items():
            np.testing.assert_array_equal(merged[key], values)


def test_residuals_apply_where_a_client_trains_the_same_units_again(name: str) -> None:
    """Where that is so in no round, error feedback is refused beforehand."""
    for capacities in ("1", "1,0.5,0.4", "0.5"):
        for every in (1, 4) if "repartition-every" in STRATEGIES[name].options else (1,):
            keys = {"capacities": capacities, "repartition_every": every, "num_server_rounds": 8}
            config = configuration(name, update_format="int8", error_feedback=True, **keys)
            rule, clients = assignment_rule(config), cohort(config)
            try:
                rounds = [by_position(rule.place(number, clients)) for number in range(1, 9)]
            except InputError:
                continue  # a capacity that the method does not admit
            repeats = [[False] * CLIENTS] + [
                [same_units(now, before) for now, before in zip(later, earlier, strict=True)]
                for earlier, later in itertools.pairwise(rounds)
            ]
            if not np.any(repeats):
                with pytest.raises(InputError, match=r"error-feedback = true: .* in any of 8 rounds"):
                    check_error_feedback(config, rule, clients)
                continue
            check_error_feedback(config, rule, clients)
            made, weights, residuals = strategy(config), model(config), {}
            for number, again in enumerate(repeats, start=1):
                replies = []
                for message in ask(made, weights, number):
                    client = message.metadata.dst_node_id - FIRST_NODE
                    update = read_order(message.content).update
                    assert update.residual_round == (number - 1 if again[client] else 0)
                    reply, residuals[client] = answer_and_residual(message, 0.01 * client, residuals.get(client))
                    replies.append(reply)
                weights = aggregate(made, replies, number)


def same_units(one: Group, other: Group) -> bool:
    left, right = one.placement.part.units, other.placement.part.units
    return left.keys() == right.keys() and all(np.array_equal(own, right[axis]) for axis, own in left.items())


def test_keys_of_other_methods_are_refused(name: str) -> None:
    for key in sorted({key for method in STRATEGIES.values() for key in method.options}):
        changed = {key.replace("-", "_"): OTHER_VALUES[key]}
        if key in STRATEGIES[name].options:
            assignment_rule(configuration(name, **changed))
        else:
            with pytest.raises(InputError, match=f"{key} = .*: strategy '{name}' does not take it; it is for "):
                assignment_rule(configuration(name, **changed))


OTHER_VALUES = {"ordered-shares": "0.4,1", "self-distillation": True, "num-subnets": 2, "repartition-every": 5}
