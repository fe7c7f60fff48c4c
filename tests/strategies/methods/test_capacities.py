"""Capacities: where they come from, how parts follow them, and what cannot be met."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.held_data import held_data
from experiments.__main__ import main
from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.wire import ClientDescription
from strategies.methods.ist_capacity import part_sizes
from strategies.registry import assignment_rule
from tests.strategies.cohort_of_five import units


def clients(*capacities: float) -> list[ClientDescription]:
    nothing = FeatureStatistics(0, np.zeros(1), np.zeros(1))
    return [ClientDescription(k, 1, 1, ("a",), capacity, nothing, "") for k, capacity in enumerate(capacities)]


@pytest.mark.parametrize(
    ("capacities", "width", "sizes"),
    [
        ([1, 0.5, 0.25], 7, [4, 2, 1]),
        ([1, 1, 1], 10, [4, 3, 3]),
        ([1, 0.01], 10, [9, 1]),
        ([0.5, 0.25], 8, [4, 2]),
        ([0.05, 0.05], 10, [1, 1]),
        ([1.0], 5, [5]),
        ([1, 0.1, 0.1], 3, [1, 1, 1]),
    ],
)
def test_parts_by_hand(capacities: list[float], width: int, sizes: list[int]) -> None:
    assert part_sizes(capacities, width).tolist() == sizes


@given(
    capacities=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8),
    width=st.integers(8, 60),
)
def test_parts_follow_shares_within_one_unit(capacities: list[float], width: int) -> None:
    sizes = part_sizes(capacities, width)
    assert sizes.min() >= 1
    assert sizes.sum() <= width
    if sum(capacities) >= 1:
        assert sizes.sum() == width
    for size, capacity in zip(sizes, capacities, strict=True):
        assert size <= np.ceil(capacity * width)
        if (sizes > 1).all():
            assert abs(size - capacity / max(1, sum(capacities)) * width) < 1


@given(count=st.integers(1, 9), number=st.integers(1, 5), subnets=st.integers(1, 6))
def test_parts_of_a_group_are_disjoint_and_cover_all_units(count: int, number: int, subnets: int) -> None:
    config = RunConfig(strategy="ist-capacity", hidden_widths="20,12", num_subnets=subnets)
    placed = assignment_rule(config).place(number, clients(*([1.0, 0.5, 0.25] * 3)[:count]))
    groups = -(-count // subnets)
    for layer, width in enumerate(config.widths):
        shares = [units(group.placement.part, config.widths)[layer] for group in placed for _ in group.positions]
        held = np.bincount(np.concatenate(shares), minlength=width)
        assert held.max() <= groups
        assert held.min() >= (1 if count == groups * subnets or groups == 1 else 0)
    if count == 1:
        assert [len(own) for own in units(placed[0].placement.part, config.widths)] == [20, 12]


def test_capacities_are_given_in_turn() -> None:
    config = RunConfig(capacities="1, 0.5,0.25")
    assert [config.capacity_of(client) for client in range(5)] == [1.0, 0.5, 0.25, 1.0, 0.5]


def test_capacities_in_given_proportions() -> None:
    config = RunConfig(capacities="1, 1/2*2,1/4 * 3")
    assert [config.capacity_of(client) for client in range(7)] == [1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 1.0]


def test_a_nodes_own_capacity_wins(tiny_encoder: str) -> None:
    keys = {"encoder": tiny_encoder, "capacities": "1,0.5"}
    node = {"partition-id": 1, "num-partitions": 2}
    assert held_data(keys, node).capacity == 0.5
    assert held_data(keys, {**node, "capacity": 0.3}).capacity == 0.3
    with pytest.raises(InputError, match=r"client 1: capacity = 2\.0 in the node config"):
        held_data(keys, {**node, "capacity": 2.0})
    with pytest.raises(InputError, match=r"client 1: capacity = 'half' in the node config"):
        held_data(keys, {**node, "capacity": "half"})
    with pytest.raises(InputError, match=r"partition-id = -1 in the node config; expected a whole number from 0"):
        held_data(keys, {**node, "partition-id": -1, "shard": "any.shard"})


WRONG = ["", "0", "1,", "1.5", "half", "nan", "1,-0.5", "1/0", "1*0", "1*-1", "1*", "3/2", "1*9000000"]


@pytest.mark.parametrize("capacities", WRONG)
def test_bad_capacities_are_refused(capacities: str) -> None:
    with pytest.raises(InputError, match=r"capacities = .* is out of range; expected numbers above 0, at most 1"):
        RunConfig(capacities=capacities)


def test_a_capacity_that_no_part_can_meet_is_named() -> None:
    def place(name: str, *capacities: float, **keys) -> None:
        assignment_rule(RunConfig(strategy=name, hidden_widths="30,20", **keys)).place(1, clients(*capacities))

    with pytest.raises(InputError, match=r"client 1: capacity = 0\.5 is too small for a method of whole models"):
        place("fedavg", 1.0, 0.5)
    with pytest.raises(
        InputError, match=r"client 2: capacity = 0\.04 is less than one of the 20 units of hidden layer"
    ):
        place("fedrolex", 1.0, 0.5, 0.04)
    with pytest.raises(InputError, match=r"client 0: capacity = 0\.1 is below the smallest of ordered-shares"):
        place("fjord", 0.1)
    with pytest.raises(InputError, match="normalization = 'layer': strategy 'fjord' leaves units out"):
        place("fjord", 1.0, normalization="layer")
    with pytest.raises(InputError, match=r"ordered-shares = '1,0\.5' is out of range; expected ascending numbers"):
        RunConfig(ordered_shares="1,0.5")
    with pytest.raises(InputError, match="num-subnets = 21 is wider than hidden layer 1 of 20 units"):
        place("ist-capacity", 1.0, num_subnets=21)
    for name in ("heterofl", "federated-dropout"):
        place(name, 0.001)


def test_fedprox_asks_for_its_term() -> None:
    with pytest.raises(InputError, match="proximal = 0 makes strategy 'fedprox' FedAvg"):
        assignment_rule(RunConfig(strategy="fedprox"))


def test_a_run_with_such_a_capacity_ends_before_it_starts(tiny_encoder: str, tmp_path: Path, capsys) -> None:
    keys = [f"encoder={tiny_encoder}", "num-subnets=2", "capacities=1,0.25", "hidden-widths=24"]
    assert main(["run", *[part for key in keys for part in ("-c", key)], "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: client 1: capacity = 0.25 is too small for num-subnets = 2")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
