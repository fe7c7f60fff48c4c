"""Optimiser state that outlives the round: who owns it, what travels, and what a bad reply costs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.learn.task import FRESH, Trained
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.model.parameters import shapes_of
from fl_sparse.nested_names import flattened, nested
from fl_sparse.part import Part, PartUpdate
from fl_sparse.wire import array_record, content_of_reply, read_order, wire_bytes
from fl_sparse.wire.replies import reply_to
from server.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from strategies.clock.deadline import check_deadline
from strategies.registry import assignment_rule
from strategies.round.strategy import SubmodelStrategy
from strategies.state.optimizer_state import ClientOptimizerState, StateReassembly
from tests.strategies.cohort_of_five import (
    CLIENTS,
    FIRST_NODE,
    Nodes,
    aggregate,
    ask,
    cohort,
    configuration,
    model,
    network,
    placed,
    received,
    strategy,
)
from tests.strategies.cohort_of_five import trained as answers

SMALL = MLPSpec(3, (5,), 2).model


def kept(name: str, **changes) -> RunConfig:
    return configuration(name, optimizer_state="kept", **changes)


def across(content: RecordDict) -> RecordDict:
    return recorddict_from_proto(recorddict_to_proto(content))


def rounds(made: SubmodelStrategy, weights: dict[str, np.ndarray], count: int, *args) -> dict[str, np.ndarray]:
    for number in range(1, count + 1):
        weights = aggregate(made, answers(ask(made, weights, number), *args), number)
    return weights


def test_moments_are_the_weighted_mean_over_holders_and_others_keep_theirs(name: str) -> None:
    config = kept(name)
    made = strategy(config)
    weights = rounds(made, model(config), 1)
    before = made.optimizer_state
    assert before.steps == config.local_steps
    messages = ask(made, weights, 2)
    replies = answers(messages)[1:4]
    aggregate(made, replies, 2)
    assert made.optimizer_state.steps == 2 * config.local_steps
    for moment, held in before.moments.items():
        for key, values in held.items():
            total, share = np.zeros(values.shape), np.zeros(values.shape)
            for reply in replies:
                node = reply.metadata.src_node_id
                placement = made._placed[node].placement
                axes = axes_of(config, placement.part, key)
                weight = 10 * (node - FIRST_NODE + 1) if placement.by_examples else 1
                total[np.ix_(*axes)] += weight * reply.content.array_records["arrays"][f"moment.{moment}.{key}"].numpy()
                share[np.ix_(*axes)] += weight
            beta = {"first": 0.9, "second": 0.999}[moment]
            weights_met = 1 - beta ** np.where(np.isnan(values), config.local_steps, 2 * config.local_steps)
            expected = np.where(share > 0, total / np.maximum(share, 1) / weights_met, values)
            np.testing.assert_allclose(made.optimizer_state.moments[moment][key], expected, rtol=1e-5, atol=1e-8)
            np.testing.assert_array_equal(made.optimizer_state.moments[moment][key][share == 0], values[share == 0])


def axes_of(config: RunConfig, part: Part, key: str) -> list[np.ndarray]:
    """The indices that a part holds along each dimension of a parameter."""
    spec = network(config).model[key]
    pairs = zip(part.index(spec), spec.shape, strict=True)
    return [np.arange(size) if units is None else units for units, size in pairs]


def test_an_order_carries_its_parts_moments_and_they_count(name: str) -> None:
    config = kept(name)
    made, plain = strategy(config), strategy(configuration(name))
    weights = rounds(made, model(config), 1)
    rounds(plain, model(config), 1)
    aggregate(plain, answers(ask(plain, weights, 2)), 2)
    messages = ask(made, weights, 2)
    for message in messages:
        order = read_order(across(message.content))
        sent = order.job.state
        assert sent.steps_taken == config.local_steps
        cut = made.optimizer_state.part(network(config).model, placed(made, message).part)
        assert cut.steps_taken == config.local_steps
        for moment in ("first", "second"):
            assert sent.moments[moment].keys() == order.job.part.parameters.keys()
            for key, values in sent.moments[moment].items():
                np.testing.assert_array_equal(values, cut.moments[moment][key])
        assert len(message.content.array_records) == len(message.content.config_records) == 1
    aggregate(made, answers(messages), 2)
    weighs = sum(wire_bytes(RecordDict({"a": array_record(received(m))})) for m in messages)
    for more in (made.report.bytes_up - plain.report.bytes_up, made.report.bytes_down - plain.report.bytes_down):
        assert more == pytest.approx(2 * weighs, rel=0.1)
    assert made.report.bytes_down == sum(wire_bytes(message.content) for message in messages)


def test_clients_of_a_group_share_one_copy_of_their_moments(name: str) -> None:
    made = strategy(kept(name, standardize=False))
    weights = rounds(made, model(made.config), 1)
    orders = {message.metadata.dst_node_id: read_order(message.content) for message in ask(made, weights, 2)}
    units = {node: made._placed[node].placement.part.digest for node in orders}
    for one, other in itertools.combinations(orders, 2):
        together = orders[one].number == orders[other].number
        assert units[one] == units[other] or not together
        for moment in ("first", "second"):
            for key, values in orders[one].job.state.moments[moment].items():
                same = np.shares_memory(values, orders[other].job.state.moments[moment][key])
                assert same == together
                assert not np.shares_memory(values, made.optimizer_state.moments[moment][key])


def test_what_a_round_hands_out_is_of_the_state_before_it(name: str) -> None:
    made = strategy(kept(name))
    weights = rounds(made, model(made.config), 1)
    aggregate(made, answers(ask(made, weights, 2)), 2)
    for message in ask(made, weights, 3):
        held = made.optimizer_state.part(network(made.config).model, placed(made, message).part)
        sent = read_order(message.content).job.state
        assert sent.moments.keys() == held.moments.keys() == {"first", "second"}
        for moment, values in sent.moments.items():
            for key, array in values.items():
                np.testing.assert_array_equal(array, held.moments[moment][key])


def test_a_refused_or_lost_reply_moves_no_moment(name: str) -> None:
    config = kept(name)
    one, other = strategy(config), strategy(config)
    start = model(config)
    weights = rounds(one, start, 1)
    rounds(other, start, 1)
    replies = answers(ask(one, weights, 2))
    arrays = replies[2].content.array_records["arrays"]
    negative = arrays["moment.second.output.bias"].numpy() - np.float32(1)
    replies[2].content["arrays"] = array_record(
        {key: negative if key == "moment.second.output.bias" else array.numpy() for key, array in arrays.items()}
    )
    merged = aggregate(one, replies, 2)
    assert one.report.reasons == ["client 2: the second moment of output.bias holds negative values"]
    without = answers(ask(other, weights, 2))
    expected = aggregate(other, without[:2] + without[3:], 2)
    for key in weights:
        np.testing.assert_array_equal(merged[key], expected[key])
        for moment in ("first", "second"):
            np.testing.assert_array_equal(
                one.optimizer_state.moments[moment][key], other.optimizer_state.moments[moment][key]
            )


def test_a_round_without_a_usable_reply_leaves_the_state(name: str) -> None:
    config = kept(name)
    made = strategy(config)
    weights = rounds(made, model(config), 1)
    before = made.optimizer_state
    messages = ask(made, weights, 2)
    bare = [replace_moments(message) for message in messages]
    assert made.aggregate_train(2, bare) == (None, None)
    assert made.report.refused == CLIENTS
    assert all("missing ['moment.first.hidden.0.bias'" in reason for reason in made.report.reasons)
    assert made.optimizer_state is before
    steps = [read_order(message.content).job.state.steps_taken for message in ask(made, weights, 3)]
    assert steps == [config.local_steps] * CLIENTS


def replace_moments(message: Message) -> Message:
    order = read_order(message.content)
    reply, _ = reply_to(order, Trained(order.job.part.parameters, 10, 1.0), None)
    return Message(content_of_reply(reply), reply_to=message)


def test_stacked_one_by_one_and_torch_agree(name: str) -> None:
    config = kept(name, local_steps=3)
    finals, states = [], []
    for way in ("stacked", "alone", "torch"):
        made, weights = strategy(config), model(config)
        for number in range(1, 4):
            messages = ask(made, weights, number)
            if way == "alone":
                replies = [reply for message in messages for reply in answers([message])]
            else:
                replies = answers(messages, TorchOps() if way == "torch" else ArrayOps())
            weights = aggregate(made, replies, number)
        finals.append(weights)
        states.append(made.optimizer_state)
    start = model(config)
    for other, state in zip(finals[1:], states[1:], strict=True):
        for key, values in finals[0].items():
            moved = np.abs(values - start[key]).max()
            np.testing.assert_allclose(other[key], values, rtol=0, atol=1e-3 * moved)
            first = states[0].moments["first"][key]
            np.testing.assert_allclose(state.moments["first"][key], first, rtol=0, atol=1e-3 * np.nanmax(np.abs(first)))


def test_the_clock_foresees_the_moments_both_ways(name: str) -> None:
    plain, config = (
        configuration(name, device_profiles="raspberry-pi-4", standardize=False, **changes)
        for changes in ({}, {"optimizer_state": "kept"})
    )
    made, weights = strategy(config), model(config)
    messages = ask(made, weights)
    foreseen = dict(made._times)
    aggregate(made, answers(messages))
    for node, time in foreseen.items():
        assert time.bytes_up == pytest.approx(made._times[node].bytes_up, abs=40)
    other = strategy(plain)
    ask(other, weights)
    assert all(foreseen[node].bytes_down > 2 * time.bytes_down for node, time in other._times.items())
    fastest = min(time.seconds for time in foreseen.values())
    late = replace(config, round_deadline=0.9 * fastest, num_server_rounds=1)
    with pytest.raises(InputError, match="no client can answer in time"):
        check_deadline(late, assignment_rule(late), cohort(late), network(late))


def test_clients_that_evaluate_get_no_moments() -> None:
    config = kept("fedavg", evaluate="clients")
    made = strategy(config)
    weights = rounds(made, model(config), 1)
    nodes = Nodes([FIRST_NODE + client for client in range(CLIENTS)])
    questions = list(made.configure_evaluate(1, array_record(weights), ConfigRecord(), nodes))  # type: ignore[arg-type]
    assert all(set(q.content.array_records["arrays"]) == set(weights) for q in questions)


def test_fresh_state_is_sent_no_differently_than_before() -> None:
    config = configuration("ist")
    made = strategy(config)
    (message, *_) = ask(made, model(config))
    assert "steps-taken" not in message.content.config_records["config"]
    order = read_order(message.content)
    assert order.job.state == FRESH


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), tau=st.integers(1, 20), count=st.integers(1, 12))
def test_adams_moments_are_means_of_the_gradients_met_whatever_was_covered(seed: int, tau: int, count: int) -> None:
    """With one gradient g throughout, m̂ = g and v̂ = g² on every coordinate met, in however few of the rounds."""
    rng = np.random.default_rng(seed)
    shapes = shapes_of(SMALL)
    assert shapes == {"hidden.0.weight": (5, 3), "hidden.0.bias": (5,), "output.weight": (2, 5), "output.bias": (2,)}
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    gradients = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    state = ClientOptimizerState().begun(SMALL, weights, RunConfig(optimizer_state="kept"))
    met = {name: np.zeros(shape, bool) for name, shape in shapes.items()}
    for _ in range(count):
        units = np.sort(rng.choice(5, size=rng.integers(1, 5), replace=False))
        part, sums = Part({"hidden.0": units}), StateReassembly(SMALL, state)
        own = {moment: dict(held) for moment, held in state.part(SMALL, part).moments.items()}
        g = part.cut(SMALL, gradients)
        for _ in range(tau):
            for name, values in g.items():
                own["first"][name] = np.float32(0.9) * own["first"][name] + np.float32(0.1) * values
                own["second"][name] = np.float32(0.999) * own["second"][name] + np.float32(0.001) * values**2
        sums.add({moment: PartUpdate(part, values, 1.0) for moment, values in own.items()})
        state = sums.result(tau)
        for name, covered in met.items():
            index = zip(part.index(SMALL[name]), covered.shape, strict=True)
            covered[np.ix_(*(range(size) if held is None else held for held, size in index))] = True
    for name, covered in met.items():
        for moment, expected in (("first", gradients[name]), ("second", gradients[name] ** 2)):
            found = state.moments[moment][name]
            np.testing.assert_allclose(found[covered], expected[covered], rtol=1e-3)
            assert np.isnan(found[~covered]).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), parts=st.integers(1, 4))
def test_parts_put_back_unchanged_are_the_state(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    whole = MLPSpec(3, (6,), 2).model
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes_of(whole).items()}
    state = ClientOptimizerState(5, {"momentum": {name: values * 2 for name, values in weights.items()}})
    cuts = np.array_split(rng.permutation(6), parts)
    assert StateReassembly(whole, state).result(4) is state
    sums = StateReassembly(whole, state)
    for part in [Part({"hidden.0": np.sort(cut)}) for cut in cuts]:
        held = state.part(whole, part)
        assert held.steps_taken == 5
        sums.add({moment: PartUpdate(part, values, 1.0) for moment, values in held.moments.items()})
    after = sums.result(4)
    assert after.steps == 9
    for name, values in state.moments["momentum"].items():
        np.testing.assert_array_equal(after.moments["momentum"][name], values)


def test_checkpoints_hold_the_state(tmp_path) -> None:
    weights = {"output.weight": np.ones((2, 3), np.float32)}
    second = {"output.weight": np.full((2, 3), 0.5, np.float32)}
    state = ClientOptimizerState(40, {"first": dict(weights), "second": second})
    states = {"server": flattened({"first": weights}), "optimizer": state.state()}
    read = load_checkpoint(save_checkpoint(tmp_path, Checkpoint(2, weights, None, ("a",), states)))
    found = ClientOptimizerState.load(read.states["optimizer"])
    assert found.steps == 40
    assert set(found.moments) == {"first", "second"}
    for moment, held in state.moments.items():
        np.testing.assert_array_equal(found.moments[moment]["output.weight"], held["output.weight"])
    assert set(nested(read.states["server"])) == {"first"}
    without = load_checkpoint(save_checkpoint(tmp_path, Checkpoint(3, weights, None, ("a",))))
    assert without.states == {}
    assert ClientOptimizerState.load({}) == ClientOptimizerState()


def test_an_optimizer_without_state_is_refused() -> None:
    with pytest.raises(InputError, match="optimizer 'sgd' without momentum has no state to keep"):
        RunConfig(optimizer="sgd", optimizer_state="kept")
    with pytest.raises(InputError, match="update-format = 'int8': moments travel as they are"):
        RunConfig(optimizer_state="kept", update_format="int8")
    assert RunConfig(optimizer="sgd", momentum=0.9, optimizer_state="kept").optimizer_state == "kept"
