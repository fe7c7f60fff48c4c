"""Groups, whatever the strategy: each client is in one, and what a group is sent is made once."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from fl_sparse.codec.quantized import Int8
from fl_sparse.part import Part
from fl_sparse.wire import content_of_order, read_order
from strategies.registry import assignment_rule
from strategies.round import handing
from strategies.round.groups import by_position
from strategies.round.strategy import SubmodelStrategy
from tests.strategies.cohort_of_five import (
    CLIENTS,
    FIRST_NODE,
    aggregate,
    answer,
    answer_and_residual,
    ask,
    cohort,
    configuration,
    description,
    model,
    strategy,
    trained,
)

LOSSY = {"update_format": "int8", "error_feedback": True}


def test_groups_hold_each_client_once_and_their_numbers_are_unique(name: str) -> None:
    config = configuration(name)
    rule = assignment_rule(config)
    clients = [description(client, config.capacity_of(client)) for client in range(23)]
    for number in range(1, 12):
        for asked in (clients, clients[3:8], clients[4:5], []):
            groups = rule.place(number, asked)
            positions = [position for group in groups for position in group.positions]
            assert sorted(positions) == list(range(len(asked)))
            assert all(group.positions == tuple(sorted(group.positions)) for group in groups)
            assert all(group.positions for group in groups)
            assert len({group.number for group in groups}) == len(groups)
            for position, group in enumerate(by_position(groups)):
                assert position in group.positions


def test_placing_changes_no_rule(name: str) -> None:
    config = configuration(name)
    made, weights = strategy(config), model(config)
    before, rule = made.rule.state(), made.rule
    for number in (1, 2, 3):
        ask(made, weights, number)
        assert made.rule is rule
        assert made.rule.state().keys() == before.keys()


class Counted:
    """How often a function was called."""

    def __init__(self, function: Callable) -> None:
        self.function, self.calls = function, 0

    def method(self) -> Callable:
        def counting(*args, **keys):
            self.calls += 1
            return self.function(*args, **keys)

        return counting


def asked_and_counted(made: SubmodelStrategy, weights, number: int) -> tuple[list, int, int, int]:
    """Ask, and count how many parts are cut, encoded, and written out."""
    cuts, codes, letters = Counted(Part.cut), Counted(Int8.encode), Counted(content_of_order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "cut", cuts.method())
        patch.setattr(Int8, "encode", codes.method())
        patch.setattr(handing, "content_of_order", letters.method())
        messages = ask(made, weights, number)
    return messages, cuts.calls, codes.calls, letters.calls


def test_what_a_group_is_sent_is_cut_encoded_and_written_once(name: str) -> None:
    for keys, arrays in (
        ({}, 1),
        ({"broadcast_format": "int8"}, 1),
        ({"broadcast_format": "int8", "broadcast_error_feedback": True}, 1),
        ({"optimizer_state": "kept"}, 3),
    ):
        made = strategy(configuration(name, **keys))
        weights = model(made.config)
        for number in (1, 2, 3):
            messages, cuts, codes, letters = asked_and_counted(made, weights, number)
            groups = made._groups
            assert cuts == arrays * len(groups)
            assert codes == (len(groups) if "broadcast_format" in keys else 0)
            # All of them are told the standardizer, or none.
            assert letters == len(groups) == len({id(message.content) for message in messages})
            for one, other in itertools.combinations(messages, 2):
                same = made._placed[one.metadata.dst_node_id] is made._placed[other.metadata.dst_node_id]
                assert (one.content is other.content) is same
            weights = aggregate(made, trained(messages), number)


def test_a_letter_is_written_for_each_thing_that_a_group_is_told(name: str) -> None:
    """Who has no standardizer, and who has another residual, is sent the same arrays in a letter of its own."""
    made = strategy(configuration(name, **LOSSY))
    weights, kept = model(made.config), {}
    for number in range(1, 5):
        messages, cuts, _, letters = asked_and_counted(made, weights, number)
        assert cuts == len(made._groups)
        told = {}
        for message in messages:
            order = read_order(message.content)
            key = order.number, order.standardizing.sent is None, order.update.residual_round
            assert told.setdefault(key, message.content) is message.content
        assert letters == len(told) == len({id(content) for content in told.values()})
        replies = []
        for message in messages:
            client = message.metadata.dst_node_id - FIRST_NODE
            reply, kept[client] = answer_and_residual(message, 0.1, kept.get(client))
            replies += [] if client == number else [reply]
        weights = aggregate(made, replies, number)


@pytest.mark.parametrize(
    ("method", "keys", "groups"),
    [
        ("fedavg", {}, 1),
        ("fedprox", {}, 1),
        ("heterofl", {}, 3),
        ("fjord", {"ordered_shares": "0.2,0.5,1"}, 3),
        ("fedrolex", {}, 3),
        ("ist", {}, 3),
        ("ist", {"num_subnets": 2, "capacities": "1"}, 2),
        ("ist-capacity", {}, CLIENTS),
        ("federated-dropout", {}, CLIENTS),
    ],
)
def test_clients_of_one_part_are_one_group(method: str, keys: dict, groups: int) -> None:
    config = configuration(method, **keys)
    assert len(assignment_rule(config).place(1, cohort(config))) == groups


def test_a_group_begins_with_the_same_arrays(name: str) -> None:
    made = strategy(configuration(name))
    messages = ask(made, model(made.config))
    aggregate(made, [answer(message) for message in messages])
    starts = [read_order(message.content).job.part.parameters for message in messages]
    for group in made._groups:
        first, *others = (starts[position] for position in group.positions)
        for other in others:
            assert all(np.shares_memory(values, other[key]) for key, values in first.items())
