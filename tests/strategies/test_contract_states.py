"""What outlives a round, whatever the strategy: a fresh strategy that loads the states goes on exactly."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from fl_sparse.wire import parameters_of, read_order
from server.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from strategies.registry import STRATEGIES
from strategies.round.strategy import SubmodelStrategy
from tests.strategies.cohort_of_five import aggregate, ask, configuration, model, strategy, trained

SERVER = [({"server_optimizer": name}, {"server"}) for name in ("momentum", "adagrad", "adam", "yogi")]
LOSSY_UP = {"update_format": "int8", "error_feedback": True}
LOSSY_DOWN = {"broadcast_format": "bfloat16", "broadcast_error_feedback": True}
VARIANTS = [
    ({}, set()),
    *SERVER,
    ({"optimizer_state": "kept"}, {"optimizer"}),
    ({"optimizer_state": "kept", "optimizer": "sgd", "momentum": 0.9}, {"optimizer"}),
    (LOSSY_UP, {"residuals"}),
    (LOSSY_DOWN, {"broadcast"}),
    (LOSSY_UP | LOSSY_DOWN | {"broadcast_format": "int8"}, {"residuals", "broadcast"}),
    ({"optimizer_state": "kept", "server_optimizer": "adam"} | LOSSY_DOWN, {"optimizer", "server", "broadcast"}),
]
"""What a run may keep, and the names of the states that hold it."""


def stored(made: SubmodelStrategy, weights: dict[str, np.ndarray]) -> Checkpoint:
    """The model and the states as a file gives them back."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoint(3, weights, made.standardizer, ("a", "b", "c"), made.states())
        return load_checkpoint(save_checkpoint(Path(folder), kept))


def played(made: SubmodelStrategy, weights: dict[str, np.ndarray], kept: dict, numbers: range) -> list:
    """Play rounds; return each one's orders and arrays down and up, its model, and the states after it."""
    told = []
    for number in numbers:
        messages = ask(made, weights, number)
        for message in messages:
            order = read_order(message.content)
            carried = {moment: held_bytes(held) for moment, held in order.job.state.moments.items()}
            told.append((order.number, order.update, order.job.first_step, order.job.state.steps_taken, carried))
            told.append(held_bytes(order.job.part.parameters))
        replies = trained(messages, kept=kept)
        told += [held_bytes(parameters_of(reply.content.array_records["arrays"])) for reply in replies]
        weights = aggregate(made, replies, number)
        told += [held_bytes(weights), {name: held_bytes(arrays) for name, arrays in made.states().items()}]
    return told


def held_bytes(arrays) -> dict[str, bytes]:
    return {name: np.asarray(values).tobytes() for name, values in arrays.items()}


def test_states_loaded_into_a_fresh_strategy_go_on_exactly(name: str) -> None:
    for keys, names in VARIANTS:
        config = configuration(name, **keys)
        made, weights, residuals = strategy(config), model(config), {}
        assert made.states() == {}
        for number in (1, 2, 3):
            weights = aggregate(made, trained(ask(made, weights, number), kept=residuals), number)
        assert set(made.states()) == names
        read = stored(made, weights)
        assert held_bytes(read.parameters) == held_bytes(weights)
        fresh = strategy(config, read.states)
        assert {state: held_bytes(arrays) for state, arrays in fresh.states().items()} == {
            state: held_bytes(arrays) for state, arrays in made.states().items()
        }
        going_on = played(made, weights, dict(residuals), range(4, 7))
        assert played(fresh, read.parameters, dict(residuals), range(4, 7)) == going_on


def test_states_count(name: str) -> None:
    """A strategy that starts the same round without them does something else."""
    for keys, names in VARIANTS:
        stay = {"repartition_every": 20} if "repartition-every" in STRATEGIES[name].options else {}
        config = configuration(name, **keys, **stay)
        made, weights, residuals = strategy(config), model(config), {}
        for number in (1, 2, 3):
            weights = aggregate(made, trained(ask(made, weights, number), kept=residuals), number)
        for state in names:
            without = {other: arrays for other, arrays in made.states().items() if other != state}
            with_all, lacking = strategy(config, made.states()), strategy(config, without)
            one = played(with_all, weights, dict(residuals), range(4, 5))
            assert one != played(lacking, weights, dict(residuals), range(4, 5)), (keys, state)


def test_states_are_not_changed_by_the_rounds_after_them(name: str) -> None:
    for keys, _ in VARIANTS:
        config = configuration(name, **keys)
        made, weights, residuals = strategy(config), model(config), {}
        weights = aggregate(made, trained(ask(made, weights), kept=residuals))
        states = made.states()
        before = {state: held_bytes(arrays) for state, arrays in states.items()}
        held = held_bytes(weights)
        for number in (2, 3):
            following = aggregate(made, trained(ask(made, weights, number), kept=residuals), number)
        assert {state: held_bytes(arrays) for state, arrays in states.items()} == before
        assert held_bytes(weights) == held
        assert held_bytes(following) != held


def test_a_round_without_a_usable_reply_keeps_what_clients_made(name: str) -> None:
    """What the server sent did leave: its residuals are of the round that was sent, not of the replies."""
    config = configuration(name, **LOSSY_DOWN, optimizer_state="kept", server_optimizer="adam")
    made, weights = strategy(config), model(config)
    weights = aggregate(made, trained(ask(made, weights)))
    before = made.states()
    ask(made, weights, 2)
    assert made.aggregate_train(2, []) == (None, None)
    after = made.states()
    for state in ("optimizer", "server"):
        assert held_bytes(after[state]) == held_bytes(before[state])
    digests = {group.placement.part.digest.hex() for group in made._groups}
    assert {key.split(".")[0] for key in after["broadcast"]} == digests


def test_states_say_nothing_of_node_ids(name: str) -> None:
    """A run may go on with its clients behind other node ids."""
    stay = {"repartition_every": 20} if "repartition-every" in STRATEGIES[name].options else {}
    config = configuration(name, **LOSSY_UP, **stay)
    made, weights, residuals = strategy(config), model(config), {}
    for number in (1, 2):
        weights = aggregate(made, trained(ask(made, weights, number), kept=residuals), number)
    moved = {node + 7: client for node, client in made.clients.items()}
    fresh = SubmodelStrategy(config, made.rule, made.network, moved, made.standardizer, made.states())
    told = [read_order(message.content).update.residual_round for message in ask(made, weights, 3)]
    again = [read_order(message.content).update.residual_round for message in ask(fresh, weights, 3, order=moved)]
    assert again == told
    assert any(told)
