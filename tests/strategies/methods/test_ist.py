"""Laws of the subnets: disjoint, covering, even; replicas and rotation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import FeatureStatistics
from fl_sparse.model.mlp import MLPSpec, hidden_axes, init_parameters
from fl_sparse.part import PartUpdate, reassemble
from fl_sparse.wire import ClientDescription
from strategies.methods.ist import IST, draw_subnets
from strategies.round.groups import by_position


@st.composite
def partitions(draw) -> tuple[tuple[int, ...], int]:
    widths = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=3)))
    return widths, draw(st.integers(1, min(widths)))


@given(partition=partitions(), draw=st.integers(0, 5), seed=st.integers(0, 5))
def test_parts_are_disjoint_cover_all_units_and_are_even(partition, draw: int, seed: int) -> None:
    widths, count = partition
    subnets = draw_subnets(hidden_axes(widths), count, draw=draw, seed=seed)
    assert len(subnets) == count
    for layer, width in enumerate(widths):
        parts = [subnet.units[f"hidden.{layer}"] for subnet in subnets]
        assert sorted(np.concatenate(parts).tolist()) == list(range(width))
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1
        assert all((np.diff(part) > 0).all() for part in parts)


def test_draws_differ_by_round_layer_and_seed_and_repeat() -> None:
    axes = hidden_axes((64, 64))
    base = draw_subnets(axes, 4, draw=0, seed=0)
    again = draw_subnets(axes, 4, draw=0, seed=0)
    for one, other in zip(base, again, strict=True):
        assert one.units.keys() == other.units.keys() == axes.keys()
        for axis, held in one.units.items():
            np.testing.assert_array_equal(held, other.units[axis])
    assert not np.array_equal(base[0].units["hidden.0"], base[0].units["hidden.1"])
    for changed in (draw_subnets(axes, 4, draw=1, seed=0), draw_subnets(axes, 4, draw=0, seed=1)):
        assert not np.array_equal(base[0].units["hidden.0"], changed[0].units["hidden.0"])


def clients(*capacities: float) -> list[ClientDescription]:
    nothing = FeatureStatistics(0, np.zeros(1), np.zeros(1))
    return [ClientDescription(k, 1, 1, ("a",), capacity, nothing, "") for k, capacity in enumerate(capacities)]


def rule(**changes) -> IST:
    return IST.from_config(RunConfig(hidden_widths="12,10", **changes), hidden_axes((12, 10)))


@given(count=st.integers(1, 40), subnets=st.integers(1, 10), number=st.integers(1, 50))
def test_replicas_differ_in_number_by_at_most_one(count: int, subnets: int, number: int) -> None:
    placed = by_position(rule(num_subnets=subnets).place(number, clients(*[1.0] * count)))
    counts = np.bincount([group.number for group in placed], minlength=subnets)
    assert len(placed) == count
    assert counts.max() - counts.min() <= 1


def test_idle_subnets_rotate_when_clients_are_few() -> None:
    few = rule(num_subnets=10)
    trained = {few.place(number, clients(1.0))[0].number for number in range(1, 200)}
    assert trained == set(range(10))


@pytest.mark.parametrize("every", [1, 3])
def test_subnets_are_drawn_anew_every_so_many_rounds(every: int) -> None:
    drawn = rule(num_subnets=2, repartition_every=every)

    def units(number: int) -> bytes:
        placed = drawn.place(number, clients(1.0, 1.0))
        return next(group.placement.part.units["hidden.0"].tobytes() for group in placed if group.number == 0)

    for number in range(1, 10):
        same = (number - 1) // every == number // every
        assert (units(number) == units(number + 1)) == same


@settings(max_examples=25)
@given(partition=partitions(), seed=st.integers(0, 3), norm=st.sampled_from(["none", "layer"]))
def test_every_parameter_of_a_part_is_owned_and_comes_back(partition, seed: int, norm: str) -> None:
    """All biases, norms, first and last weights have an owner; hidden weights between parts have none in this round."""
    widths, count = partition
    spec = MLPSpec(5, widths, 3, normalization=norm)
    whole = init_parameters(spec, seed)
    subnets = draw_subnets(hidden_axes(widths), count, draw=0, seed=seed)
    updates = [PartUpdate(part, part.cut(spec.model, whole), 1 + number) for number, part in enumerate(subnets)]
    merged, covered = reassemble(spec.model, whole, updates)
    for name, values in whole.items():
        np.testing.assert_array_equal(merged[name], values)
        owned = covered[name]
        between = name.startswith("hidden.") and name.endswith(".weight") and values.ndim == 2 and "0.w" not in name
        if owned is not None and not between:
            assert owned.all(), name


def test_a_client_that_cannot_hold_the_largest_part_is_named() -> None:
    assert len(by_position(rule(num_subnets=4).place(1, clients(0.25, 0.3)))) == 2
    words = (
        r"client 1: capacity = 0\.2 is too small for num-subnets = 2, which has it train 6 of the 12 units of hidden "
        r"layer 0; expected 0\.5 or more"
    )
    with pytest.raises(InputError, match=words):
        rule(num_subnets=2).place(1, clients(1.0, 0.2))
