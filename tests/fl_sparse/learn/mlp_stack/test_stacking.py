"""How a cohort is divided into stacks: every job once, factors where starts are shared, few results waiting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.array_ops import ArrayOps
from fl_sparse.learn.learner import ClientJob
from fl_sparse.learn.mlp_stack.learner import ENOUGH_ALIKE, MLPLearner
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.stack import Stack
from fl_sparse.model.mlp import MLPSpec, init_parameters
from tests.fl_sparse.train_orders import training_job

SPEC = MLPSpec(64, (50,), 4)
STARTS = [init_parameters(SPEC, seed) for seed in range(12)]
PART_BYTES = sum(values.nbytes for values in STARTS[0].values())


def cohort(starts: list[int], optimizer: str = "sgd", *, takes_factors: bool = True) -> list[ClientJob]:
    jobs = [training_job(STARTS[start], optimizer=OptimizerSpec(optimizer, 0.1)) for start in starts]
    rows = np.arange(10)
    return [
        ClientJob(job, client, rows, start, takes_factors)
        for client, (job, start) in enumerate(zip(jobs, starts, strict=True))
    ]


def stacks(starts: list[int], copies: int, optimizer: str = "sgd", *, takes_factors: bool = True) -> list[Stack]:
    """Return the stacks if copies of so many parts fit the memory."""
    ops = ArrayOps()
    ops.stack_bytes = 2 * copies * PART_BYTES
    return MLPLearner(ops).stacks(cohort(starts, optimizer, takes_factors=takes_factors))


def most_waiting(divided: list[Stack]) -> int:
    """Return how many results are held at most by who hands them on in the jobs' order."""
    held: set[int] = set()
    following = most = 0
    for stack in divided:
        held.update(stack.positions)
        most = max(most, len(held))
        while following in held:
            held.remove(following)
            following += 1
    return most


@given(starts=st.lists(st.integers(0, 11), min_size=1, max_size=200), copies=st.integers(1, 30))
def test_every_job_once_and_factors_for_shared_starts_alone(starts: list[int], copies: int) -> None:
    divided = stacks(starts, copies)
    assert sorted(position for stack in divided for position in stack.positions) == list(range(len(starts)))
    assert [stack.positions[0] for stack in divided] == sorted(stack.positions[0] for stack in divided)
    for stack in divided:
        assert stack.positions == sorted(stack.positions)
        if stack.factored:
            assert stack.factored == ("hidden.0.weight",)
            assert len(stack.positions) >= ENOUGH_ALIKE
            assert len({starts[position] for position in stack.positions}) == 1
        else:
            assert len(stack.positions) <= copies


@given(replicas=st.integers(1, 40), count=st.integers(1, 12), copies=st.integers(1, 30))
def test_no_more_results_wait_than_fit_the_memory(replicas: int, count: int, copies: int) -> None:
    turns = list(range(count)) * replicas  # as Independent Subnet Training deals its parts out
    factors = 4 * 8 * (64 + 50) + 2 * 4 * (50 + 4 * 51)
    stretch = max(1, 2 * copies * PART_BYTES // factors)
    assert most_waiting(stacks(turns, copies)) <= max(stretch, copies)


def test_one_start_is_one_stack_and_adam_has_copies() -> None:
    assert stacks([3] * 20, 10) == [Stack(list(range(20)), ("hidden.0.weight",))]
    assert stacks([3] * 20, 10, takes_factors=False) == [Stack(list(range(10))), Stack(list(range(10, 20)))]
    assert stacks([3] * 20, 10, "adam") == [Stack(list(range(part, part + 5))) for part in range(0, 20, 5)]
    few = ENOUGH_ALIKE - 1
    assert stacks([0, 1] * few, 5 * few) == [Stack(list(range(2 * few)))]
