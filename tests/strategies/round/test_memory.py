"""A round's memory, estimated before it starts."""

import pytest

from fl_sparse.errors import InputError
from strategies.registry import assignment_rule
from strategies.round.memory import check_round_memory, round_bytes
from tests.strategies.cohort_of_five import by_node, configuration, description, network

MODEL = 4 * ((6 + 1) * 2000 + (2000 + 1) * 2000 + (2000 + 1) * 3)


def estimate(name: str, count: int, *, streamed: bool, population: int = 0, **changes) -> int:
    config = configuration(name, hidden_widths="2000,2000", **changes)
    clients = [description(client, config.capacity_of(client)) for client in range(count)]
    groups = assignment_rule(config).place(1, clients)
    return round_bytes(config, groups, network(config).model, population=population or count, streamed=streamed)


@pytest.mark.parametrize("name", ["fedavg", "ist"])
def test_a_streamed_cohort_does_not_grow_with_its_clients(name: str) -> None:
    small, large = (estimate(name, count, streamed=True) for count in (100, 1000))
    assert small == large
    waiting = [estimate(name, count, streamed=False) for count in (100, 1000)]
    assert 9 < (waiting[1] - large) / (waiting[0] - small) < 11


def test_subnets_of_ones_own_are_counted_each() -> None:
    own, shared = (estimate(name, 100, streamed=True, capacities="0.5") for name in ("federated-dropout", "heterofl"))
    model = 4 * 2000 * 2000
    assert 0.9 < (own - shared) / (99 * model / 4) < 1.1


@pytest.mark.parametrize(
    ("changes", "models"),
    [
        # Before, after, checkpoint and file of each moment; of clients' also sums, weights, and the part handed out.
        ({"server_optimizer": "momentum"}, 4),
        ({"server_optimizer": "adam"}, 8),
        ({"optimizer_state": "kept"}, 18),
        ({"optimizer_state": "kept", "server_optimizer": "yogi"}, 26),
    ],
    ids=str,
)
def test_states_count_on_the_server(changes: dict, models: int) -> None:
    plain, more = (estimate("fedavg", 1, streamed=True, **keys) for keys in ({}, changes))
    assert more - plain == pytest.approx(models * MODEL, rel=0.2)
    sgd = {"optimizer": "sgd", "momentum": 0.9}
    plain, more = (estimate("fedavg", 1, streamed=True, **sgd, **keys) for keys in ({}, {"optimizer_state": "kept"}))
    assert more - plain == pytest.approx(9 * MODEL, rel=0.2)


def test_kept_moments_wait_with_the_replies_they_travel_in() -> None:
    plain, kept = (
        estimate("fedavg", 100, streamed=False, **keys) - estimate("fedavg", 100, streamed=True, **keys)
        for keys in ({}, {"optimizer_state": "kept"})
    )
    assert plain == 100 * MODEL
    assert kept == 3 * plain


def test_residuals_are_one_for_each_client_that_ever_trained_here() -> None:
    lossy = {"update_format": "int8", "num_server_rounds": 3}

    def residuals(population: int, *, streamed: bool = True) -> int:
        plain, more = (
            estimate("fedavg", 10, streamed=streamed, population=population, error_feedback=kept, **lossy)
            for kept in (False, True)
        )
        return more - plain

    assert residuals(20) == 20 * MODEL
    assert residuals(1000) == 30 * MODEL
    assert residuals(1000, streamed=False) == 0


@pytest.mark.parametrize("name", ["fedavg", "fedrolex", "fjord", "ist", "ist-capacity"])
def test_a_round_that_does_not_fit_is_refused_with_the_estimate(name: str) -> None:
    config = configuration(name)
    clients, whole = by_node(config), network(config).model
    rule = assignment_rule(config)
    check_round_memory(config, rule, clients, whole, streamed=True, available=10**6)
    check_round_memory(config, rule, clients, whole, streamed=True, available=None)
    with pytest.raises(InputError, match=r"a round's 5 clients take about .* GB of memory; 1e-06 GB are available"):
        check_round_memory(config, rule, clients, whole, streamed=True, available=1000)
