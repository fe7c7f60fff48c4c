"""How a cohort is divided into stacks: every order once, factors where starts are shared, few replies waiting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.learn import ArrayOps, OptimizerSpec
from fl_sparse.learn.local_training import LocalData
from fl_sparse.learn.mlp_stack.stacking import ENOUGH_ALIKE, Stack, stacks_of
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire.exchange import TrainOrder
from tests.fl_sparse.train_orders import order

SPEC = MLPSpec(64, (50,), 4)
FEATURES, LABELS = np.zeros((20, 64), np.float32), np.zeros(20, np.int64)
STARTS = [init_parameters(SPEC, seed) for seed in range(12)]
SUBNET_BYTES = sum(values.nbytes for values in STARTS[0].values())


def cohort(starts: list[int], optimizer: str = "sgd") -> tuple[list[TrainOrder], list[LocalData]]:
    orders = [order(STARTS[start], subnet=start, optimizer=OptimizerSpec(optimizer, 0.1)) for start in starts]
    return orders, [LocalData(FEATURES, LABELS, np.arange(10), k) for k in range(len(starts))]


def stacks(starts: list[int], subnets: int, optimizer: str = "sgd") -> list[Stack]:
    """Return the stacks if copies of so many subnets fit the memory."""
    ops = ArrayOps()
    ops.stack_bytes = 2 * subnets * SUBNET_BYTES
    return stacks_of(*cohort(starts, optimizer), ops)


def most_waiting(divided: list[Stack]) -> int:
    """Return how many replies are held at most by who hands them on in the orders' order."""
    held: set[int] = set()
    following = most = 0
    for stack in divided:
        held.update(stack.positions)
        most = max(most, len(held))
        while following in held:
            held.remove(following)
            following += 1
    return most


@given(starts=st.lists(st.integers(0, 11), min_size=1, max_size=200), subnets=st.integers(1, 30))
def test_every_order_once_and_factors_for_shared_starts_alone(starts: list[int], subnets: int) -> None:
    divided = stacks(starts, subnets)
    assert sorted(position for stack in divided for position in stack.positions) == list(range(len(starts)))
    assert [stack.positions[0] for stack in divided] == sorted(stack.positions[0] for stack in divided)
    for stack in divided:
        assert stack.positions == sorted(stack.positions)
        if stack.factored:
            assert stack.factored == ("hidden.0.weight",)
            assert len(stack.positions) >= ENOUGH_ALIKE
            assert len({starts[position] for position in stack.positions}) == 1
        else:
            assert len(stack.positions) <= subnets


@given(replicas=st.integers(1, 40), count=st.integers(1, 12), subnets=st.integers(1, 30))
def test_no_more_replies_wait_than_fit_the_memory(replicas: int, count: int, subnets: int) -> None:
    turns = list(range(count)) * replicas  # as Independent Subnet Training deals its subnets out
    factors = 4 * 8 * (64 + 50) + 2 * 4 * (50 + 4 * 51)
    stretch = max(1, 2 * subnets * SUBNET_BYTES // factors)
    assert most_waiting(stacks(turns, subnets)) <= max(stretch, subnets)


def test_one_start_is_one_stack_and_adam_has_copies() -> None:
    assert stacks([3] * 20, 10) == [Stack(list(range(20)), ("hidden.0.weight",))]
    assert stacks([3] * 20, 10, "adam") == [Stack(list(range(part, part + 5))) for part in range(0, 20, 5)]
    few = ENOUGH_ALIKE - 1
    assert stacks([0, 1] * few, 5 * few) == [Stack(list(range(2 * few)))]
