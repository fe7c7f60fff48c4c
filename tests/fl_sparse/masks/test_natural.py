"""The resampling support, against Pillow itself."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fl_sparse.data.images import resize_pixels
from fl_sparse.masks.natural import patch_validity, resampling_support
from fl_sparse.patches import patchify


@given(st.integers(1, 300), st.integers(1, 230))
@settings(max_examples=50, deadline=None)
def test_support_is_what_pillow_reads(source: int, resized: int) -> None:
    """Resizing the rows of the unit matrix gives the weight of every source pixel in every resized one."""
    unit = Image.fromarray(np.eye(source, dtype=np.float32))
    weights = np.asarray(unit.resize((source, resized), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resampling_support(source, resized), weights != 0)


@given(
    st.integers(4, 90), st.integers(4, 90), st.sampled_from([(32, 4), (32, 8), (28, 14), (16, 2)]), st.integers(0, 9999)
)
@settings(max_examples=50, deadline=None)
def test_valid_patches_do_not_depend_on_invalid_pixels(
    height: int, width: int, sizes: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    validity = np.ones((height, width), dtype=np.bool_)
    top, left = rng.integers(height), rng.integers(width)
    validity[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = False
    valid = patch_validity(validity, *sizes)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    other = np.where(validity[:, :, None], image, rng.choice(np.array([0, 255], np.uint8), image.shape))
    before, after = (patchify(resize_pixels(pixels, sizes[0])[None], sizes[1])[0] for pixels in (image, other))
    np.testing.assert_array_equal(before[valid], after[valid])


def test_a_source_of_the_resized_size_needs_its_own_pixels_only() -> None:
    validity = np.ones((8, 8), dtype=np.bool_)
    validity[3, 4] = False
    assert patch_validity(validity, 8, 2).reshape(4, 4).tolist() == [
        [True, True, True, True],
        [True, True, False, True],
        [True, True, True, True],
        [True, True, True, True],
    ]


def test_all_or_nothing() -> None:
    assert patch_validity(np.ones((40, 70), dtype=np.bool_), 32, 4).all()
    assert not patch_validity(np.zeros((40, 70), dtype=np.bool_), 32, 4).any()
