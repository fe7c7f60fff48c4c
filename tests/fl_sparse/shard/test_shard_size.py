"""What a client's images weigh is what a shard of its own would store."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.data.client_rows import ClientRows
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.image_shard import stored_tensors
from fl_sparse.shard.size import training_bytes

IMAGES = 6


@pytest.fixture(scope="module")
def images(make_images):
    """Six images, of which the last two are partly invalid."""
    masks = [None] * 4 + [np.arange(64).reshape(8, 8) >= 8 * k for k in (2, 4)]
    return make_images([(8, 8)] * IMAGES, masks)


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.lists(st.integers(0, IMAGES - 1), max_size=IMAGES, unique=True), min_size=1, max_size=4),
    mask=st.sampled_from([MaskSpec("random", 0.5), MaskSpec("random", 0.5, "resampled", 3), MaskSpec("natural", 0.0)]),
)
def test_it_is_what_a_shard_of_its_own_images_stores(images, parts: list[list[int]], mask: MaskSpec) -> None:
    def shard(of: list[int]):
        return build_shard(images, np.array(of), mask=mask, image_size=8, patch_size=2, data_seed=0, split="train")

    found = training_bytes(shard(list(range(IMAGES))), ClientRows.of(np.array(rows, dtype=np.int64) for rows in parts))
    for rows, weight in zip(parts, found, strict=True):
        stored = stored_tensors(shard(rows)) if rows else {}
        assert weight == sum(tensor.nbytes for name, tensor in stored.items() if name != "rows")
