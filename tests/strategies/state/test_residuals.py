"""Which runs error feedback is of use in."""

import pytest

from fl_sparse.errors import InputError
from fl_sparse.wire import read_order
from strategies.registry import assignment_rule
from strategies.round.groups import prefix
from strategies.state.residuals import ResidualRounds, check_error_feedback
from tests.strategies.cohort_of_five import aggregate, answer_and_residual, ask, cohort, configuration, model, strategy

ON = {"update_format": "bfloat16", "error_feedback": True}


@pytest.mark.parametrize(
    ("name", "keys", "useful"),
    [
        ("fedavg", {}, True),
        ("fedavg", {"num_server_rounds": 1}, False),
        ("heterofl", {}, True),
        ("fjord", {}, True),
        ("federated-dropout", {"capacities": "0.5"}, False),
        ("federated-dropout", {"capacities": "0.5,1"}, True),
        # A window of 9 and of 7 units is back where it was after 63 rounds, but not in the round after.
        ("fedrolex", {"capacities": "0.5", "num_server_rounds": 70}, False),
        ("ist", {"capacities": "1"}, False),
        ("ist", {"capacities": "1", "num_subnets": 1}, True),
        ("ist", {"capacities": "1", "repartition_every": 20}, True),
        ("ist-capacity", {"capacities": "0.5"}, False),
        ("ist-capacity", {"capacities": "0.5", "repartition_every": 2}, True),
    ],
)
def test_it_is_refused_where_no_units_repeat(name: str, keys: dict, useful: bool) -> None:
    config = configuration(name, **ON, **keys)
    rule, clients = assignment_rule(config), cohort(config)
    if useful:
        check_error_feedback(config, rule, clients)
    else:
        with pytest.raises(InputError, match=f"error-feedback = true: strategy '{name}' .*; expected false"):
            check_error_feedback(config, rule, clients)
    plain = configuration(name, **keys)
    check_error_feedback(plain, assignment_rule(plain), clients)


def test_a_client_seldom_asked_is_one_whose_last_update_was_long_ago() -> None:
    config = configuration("fedavg", **ON, clients_per_round=1, num_server_rounds=6)
    check_error_feedback(config, assignment_rule(config), cohort(config))  # six draws among five clients


def test_the_last_accepted_update_decides() -> None:
    square = {"hidden.0": 8, "hidden.1": 8}
    known, half, whole = ResidualRounds(), prefix(square, 0.5), prefix(square, 1.0)
    assert known.applying(0, half) == 0
    assert not known.accept(0, 3, half)
    assert (known.applying(0, half), known.applying(0, whole), known.applying(1, half)) == (3, 0, 0)
    assert not known.accept(0, 4, whole)
    assert (known.applying(0, half), known.applying(0, whole)) == (0, 4)
    assert known.accept(0, 7, whole)
    # As many units in all, cut elsewhere, are other units.
    one, other = ({"hidden.0": first, "hidden.1": second} for first, second in ((4, 8), (8, 4)))
    assert prefix(one, 0.5).digest != prefix(other, 0.5).digest


def test_each_client_is_told_of_its_own_last_round_though_all_train_the_same() -> None:
    config = configuration("fedavg", **ON, clients_per_round=3)
    made, weights, kept, told = strategy(config), model(config), {}, set()
    for number in range(1, 9):
        replies = []
        for message in ask(made, weights, number):
            node = message.metadata.dst_node_id
            named = read_order(message.content).update.residual_round
            assert named == (kept[node].round if node in kept else 0)
            told.add((number, named))
            reply, kept[node] = answer_and_residual(message, 0.1, kept.get(node))
            replies.append(reply)
        aggregate(made, replies, number)
    assert len(told) > 8 + 3  # more than one round's residual in several rounds
