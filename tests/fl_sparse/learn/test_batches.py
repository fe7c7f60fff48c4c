"""The rule of local steps: batch t mod E of the permutation of epoch t // E."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.learn.batches import batch_rows
from fl_sparse.rng import Purpose, generator
from tests import reference

sizes = st.integers(1, 40)


@given(n=sizes, batch=st.integers(1, 50), first=st.integers(0, 60), steps=st.integers(0, 30), client=st.integers(0, 5))
def test_follows_the_rule_step_by_step(n: int, batch: int, first: int, steps: int, client: int) -> None:
    rows = batch_rows(n, batch, seed=3, partition_id=client, first_step=first, steps=steps)
    expected = reference.batches(
        n, batch, range(first, first + steps), lambda epoch: generator(Purpose.BATCH, 3, client, epoch).permutation(n)
    )
    assert rows.shape == (steps, min(batch, n))
    assert rows.dtype == np.int64
    for row, examples in zip(rows, expected, strict=True):
        assert row[: len(examples)].tolist() == [int(example) for example in examples]
        assert (row[len(examples) :] == -1).all()


@given(n=sizes, batch=st.integers(1, 50), epoch=st.integers(0, 3))
def test_an_epoch_sees_every_example_once(n: int, batch: int, epoch: int) -> None:
    steps = -(-n // batch)
    rows = batch_rows(n, batch, seed=0, partition_id=1, first_step=epoch * steps, steps=steps)
    assert sorted(rows[rows >= 0].tolist()) == list(range(n))


@given(n=sizes, batch=st.integers(1, 50), first=st.integers(0, 20), cut=st.integers(0, 10))
def test_any_step_can_be_recomputed_alone(n: int, batch: int, first: int, cut: int) -> None:
    def rows(start: int, steps: int) -> np.ndarray:
        return batch_rows(n, batch, seed=5, partition_id=2, first_step=start, steps=steps)

    np.testing.assert_array_equal(rows(first, 10), np.concatenate([rows(first, cut), rows(first + cut, 10 - cut)]))


def test_clients_seeds_and_epochs_differ() -> None:
    def rows(**changes: int) -> list[int]:
        arguments = {"seed": 0, "partition_id": 0, "first_step": 0, "steps": 1, **changes}
        return batch_rows(50, 50, **arguments)[0].tolist()  # type: ignore[arg-type]

    assert rows() == rows()
    assert len({tuple(rows(**{key: 1})) for key in ("seed", "partition_id", "first_step")} | {tuple(rows())}) == 4


@given(numbers=st.lists(st.one_of(st.integers(0, 2**32 + 1), st.integers(0, 2**70)), max_size=5))
def test_a_draw_is_seeded_by_the_numbers_themselves_however_large(numbers: list[int]) -> None:
    expected = np.random.default_rng([int(Purpose.MASK), *numbers])
    assert generator(Purpose.MASK, *numbers).bytes(16) == expected.bytes(16)


@pytest.mark.parametrize("wrong", [-1, np.int64(-1), 1.5, -(2**70)])
def test_a_draw_refuses_what_is_no_natural_number(wrong) -> None:
    with pytest.raises((ValueError, TypeError)):
        generator(Purpose.MASK, 3, wrong)
