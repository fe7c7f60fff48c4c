"""A round's memory, estimated before it starts."""

import pytest

from fl_sparse.errors import InputError
from fl_sparse.mlp import MLPSpec, parameter_shapes
from strategies.memory import check_round_memory, round_bytes
from strategies.registry import assignment_rule
from tests.strategies.cohort_of_five import FIRST_NODE, configuration, description


def estimate(name: str, count: int, *, streamed: bool, **changes) -> int:
    config = configuration(name, hidden_widths="2000,2000", **changes)
    shapes = parameter_shapes(MLPSpec(6, config.widths, 3))
    clients = [description(client, config.capacity_of(client)) for client in range(count)]
    placements = assignment_rule(config).place(1, clients)
    return round_bytes(config, clients, placements, shapes, streamed=streamed)


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


@pytest.mark.parametrize("name", ["fedavg", "fedrolex", "fjord", "ist", "ist-capacity"])
def test_a_round_that_does_not_fit_is_refused_with_the_estimate(name: str) -> None:
    config = configuration(name)
    clients = {FIRST_NODE + k: description(k, config.capacity_of(k)) for k in range(5)}
    shapes = parameter_shapes(MLPSpec(6, config.widths, 3))
    rule = assignment_rule(config)
    check_round_memory(config, rule, clients, shapes, streamed=True, available=10**6)
    check_round_memory(config, rule, clients, shapes, streamed=True, available=None)
    with pytest.raises(InputError, match=r"a round's 5 clients take about .* GB of memory; 1e-06 GB are available"):
        check_round_memory(config, rule, clients, shapes, streamed=True, available=1000)
