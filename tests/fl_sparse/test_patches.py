"""Cutting images into patches and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.patches import grid, patchify, unpatchify


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.integers(0, 3), st.integers(0, 99))
def test_unpatchify_inverts_patchify(rows: int, columns: int, patch_size: int, count: int, seed: int) -> None:
    size = (count, rows * patch_size, columns * patch_size, 3)
    images = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    patches = patchify(images, patch_size)
    assert patches.shape == (count, rows * columns, 3 * patch_size**2)
    np.testing.assert_array_equal(unpatchify(patches, patch_size, (rows, columns)), images)


def test_a_patch_is_ordered_by_row_column_channel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 6, 3), dtype=np.uint8)
    patches = patchify(image, 2)
    for number in range(9):
        top, left = 2 * (number // 3), 2 * (number % 3)
        tile = image[0, top : top + 2, left : left + 2]
        expected = [tile[row, column, channel] for row in range(2) for column in range(2) for channel in range(3)]
        assert patches[0, number].tolist() == expected


def test_sizes_that_do_not_divide_are_refused() -> None:
    assert grid(32, 4) == (8, 8)
    for image_size, patch_size in ((32, 5), (0, 4), (32, 0)):
        with pytest.raises(InputError, match=f"{image_size}.*{patch_size}"):
            grid(image_size, patch_size)
    with pytest.raises(InputError, match="7×6"):
        patchify(np.zeros((1, 7, 6, 3), dtype=np.uint8), 3)
