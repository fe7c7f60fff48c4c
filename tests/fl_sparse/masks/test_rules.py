"""Laws of the mask rules."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_sparse.masks import rules
from fl_sparse.masks.spec import MAX_RATIO, RULES, kept_count

GRIDS = st.tuples(st.integers(1, 15), st.integers(1, 15))
SEEDS = st.integers(0, 2**32)


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", sorted(rules.DRAWN))
@given(GRIDS, st.floats(0, MAX_RATIO), SEEDS)
@settings(max_examples=60)
def test_every_rule_keeps_exactly_the_count(name: str, grid: tuple[int, int], ratio: float, seed: int) -> None:
    patches = grid[0] * grid[1]
    keep = kept_count(patches, ratio)
    assert 1 <= keep <= patches
    mask = rules.DRAWN[name](_rng(seed), grid, keep)
    assert mask.dtype == np.bool_
    assert mask.shape == (patches,)
    assert mask.sum() == keep  # True is kept
    np.testing.assert_array_equal(mask, rules.DRAWN[name](_rng(seed), grid, keep))


@pytest.mark.parametrize("name", ["random", "grid", "cloud"])
@given(GRIDS, SEEDS, st.data())
@settings(max_examples=25)
def test_a_higher_ratio_hides_more_of_the_same(
    name: str, grid: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    more = data.draw(st.integers(1, grid[0] * grid[1]))
    fewer = data.draw(st.integers(1, more))
    kept_more, kept_fewer = (rules.DRAWN[name](_rng(seed), grid, keep) for keep in (more, fewer))
    assert not (kept_fewer & ~kept_more).any()


@given(GRIDS, SEEDS, st.data())
def test_grid_is_even_in_every_window(grid: tuple[int, int], seed: int, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, grid[0] * grid[1]))
    kept = rules.grid(_rng(seed), grid, keep).reshape(grid)
    for side in (2, 4, 8):
        windows = [
            kept[top : top + side, left : left + side].sum()
            for top, left in itertools.product(range(grid[0] - side + 1), range(grid[1] - side + 1))
        ]
        assert not windows or max(windows) - min(windows) <= 1


@pytest.mark.parametrize("side", [8, 14])
def test_grid_is_a_checkerboard_at_half_and_every_second_row_and_column_at_a_quarter(side: int) -> None:
    half = rules.grid(_rng(1), (side, side), side * side // 2).reshape(side, side)
    rows, columns = np.indices((side, side))
    assert {*((rows + columns) % 2)[half]} in ({0}, {1})
    quarter = rules.grid(_rng(1), (side, side), side * side // 4).reshape(side, side)
    assert quarter.any(axis=0).sum() == quarter.any(axis=1).sum() == side // 2
    assert not (quarter[1:] & quarter[:-1]).any()


@given(GRIDS, SEEDS, st.data())
def test_block_hides_one_compact_piece(grid: tuple[int, int], seed: int, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, grid[0] * grid[1]))
    hidden = ~rules.block(_rng(seed), grid, keep).reshape(grid)
    if not hidden.any():
        return
    assert _pieces(hidden) == 1
    height, width = int(hidden.any(axis=1).sum()), int(hidden.any(axis=0).sum())
    assert height * width - hidden.sum() < width  # a rectangle but for a part of one row
    assert height <= -(-hidden.sum() // width)


def test_cloud_is_smoother_than_random() -> None:
    def borders(name: str) -> int:
        masks = [rules.DRAWN[name](_rng(seed), (14, 14), 98).reshape(14, 14) for seed in range(50)]
        return sum(int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()) for mask in masks)

    assert borders("cloud") < 0.5 * borders("random")


@pytest.mark.parametrize("name", ["random", "grid", "cloud"])
def test_no_place_is_favoured(name: str) -> None:
    """Not so for `block`: a block within the grid covers the middle more often than the corners."""
    share = np.mean([rules.DRAWN[name](_rng(seed), (4, 4), 8) for seed in range(600)], axis=0)
    assert share.min() > 0.4
    assert share.max() < 0.6


def test_every_rule_is_described_and_all_but_natural_are_drawn() -> None:
    assert set(RULES) == {*rules.DRAWN, "natural"}


def _pieces(cells: NDArray[np.bool_]) -> int:
    """Count the pieces connected by edges."""
    left = {(int(row), int(column)) for row, column in np.argwhere(cells)}
    pieces = 0
    while left:
        pieces += 1
        front = [left.pop()]
        while front:
            row, column = front.pop()
            around = {(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)} & left
            left -= around
            front.extend(around)
    return pieces
