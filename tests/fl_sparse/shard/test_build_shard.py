"""What a shard holds, and what it must not hold."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_sparse.data.images import resize_pixels
from fl_sparse.errors import InputError
from fl_sparse.masks.draw import cycled_owners
from fl_sparse.masks.spec import RULES, MaskSpec, kept_count
from fl_sparse.patches import patchify
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.file import save_shard
from fl_sparse.shard.image_shard import ImageShard, index_type

SIZE, PATCH = 16, 4


def _shard(images: Any, mask: MaskSpec, rows: NDArray[np.int64] | None = None) -> ImageShard:
    rows = np.arange(len(images)) if rows is None else rows
    return build_shard(
        images,
        rows,
        mask=mask,
        image_size=SIZE,
        patch_size=PATCH,
        data_seed=5,
        split="train",
        owners=cycled_owners(rows, 2),
    )


def _mask_spec(rule: str, ratio: float, views: int) -> MaskSpec:
    return MaskSpec(rule, ratio, "fixed" if views == 1 else "resampled", views)


def _file_bytes(folder: Path, shard: ImageShard) -> bytes:
    save_shard(folder / "x.shard", shard)
    return (folder / "x.shard").read_bytes()


def _random_validity(rng: np.random.Generator, height: int, width: int) -> NDArray[np.bool_]:
    validity = np.ones((height, width), dtype=np.bool_)
    for _ in range(rng.integers(1, 4)):
        top, left = rng.integers(height), rng.integers(width)
        validity[top : top + rng.integers(1, height // 2 + 2), left : left + rng.integers(1, width // 2 + 2)] = False
    return validity


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"natural"}))
@given(ratio=st.floats(0, 0.95), views=st.integers(1, 3), seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_no_hidden_pixel_of_a_drawn_mask_reaches_the_file(
    rule: str, ratio: float, views: int, seed: int, make_images: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Hidden: the pixels of the resized image in no kept patch of any view."""
    images = make_images([(SIZE, SIZE)] * 4, seed=seed)
    mask = _mask_spec(rule, ratio, views)
    shard = _shard(images, mask)
    rng = np.random.default_rng(seed + 1)
    changed = []
    for place, image in enumerate(images.images):
        shown = np.zeros(16, dtype=np.bool_)
        for view in range(views):
            shown[shard.view(view, place)[1]] = True
        pixels = shown.reshape(4, 4).repeat(PATCH, axis=0).repeat(PATCH, axis=1)[:, :, None]
        changed.append(np.where(pixels, image, rng.integers(0, 256, image.shape, dtype=np.uint8)))
    folder = tmp_path_factory.mktemp("hidden")
    other = _shard(replace(images, images=changed), mask)
    assert _file_bytes(folder, shard) == _file_bytes(folder, other)


@given(ratio=st.sampled_from([0.0, 0.3, 0.9]), views=st.integers(1, 3), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_no_invalid_source_pixel_reaches_the_file(
    ratio: float, views: int, seed: int, make_images: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also where a bigger or smaller source is resampled, so that a resized pixel mixes many source pixels."""
    rng = np.random.default_rng(seed)
    sizes = [(int(height), int(width)) for height, width in rng.integers(9, 90, (4, 2))] + [(SIZE, SIZE)]
    masks = [_random_validity(rng, *size) for size in sizes]
    masks[4][:] = True
    images = make_images(sizes, masks, seed=seed)
    mask = _mask_spec("natural", ratio, views)
    noise = [rng.integers(0, 256, image.shape, dtype=np.uint8) for image in images.images]
    changed = [
        np.where(valid[:, :, None], image, other)
        for image, valid, other in zip(images.images, masks, noise, strict=True)
    ]
    folder = tmp_path_factory.mktemp("invalid")
    before = _file_bytes(folder, _shard(images, mask))
    assert before == _file_bytes(folder, _shard(replace(images, images=changed), mask))


@given(rule=st.sampled_from(sorted(RULES)), views=st.integers(1, 3), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_every_patch_is_the_one_its_place_says(rule: str, views: int, seed: int, make_images: Any) -> None:
    rng = np.random.default_rng(seed)
    sizes = [(int(height), int(width)) for height, width in rng.integers(9, 60, (5, 2))]
    images = make_images(sizes, [None, *(_random_validity(rng, *size) for size in sizes[1:])], seed=seed)
    rows = rng.permutation(5)[:4]
    shard = _shard(images, _mask_spec(rule, 0.4, views), np.union1d(rows, [0]))
    assert shard.num_images + shard.header.left_out == len(np.union1d(rows, [0]))
    np.testing.assert_array_equal(shard.labels, images.labels[shard.rows])
    shown = np.zeros((shard.num_images, 16), dtype=np.bool_)
    for place, row in enumerate(shard.rows):
        whole = patchify(resize_pixels(images.pixels(int(row)), SIZE)[None], PATCH)[0]
        for view in range(views):
            patches, kept = shard.view(view, place)
            np.testing.assert_array_equal(patches, whole[kept])
            assert (np.diff(kept.astype(int)) > 0).all()
            assert len(kept) == shard.visible(view)[place]
            if rule != "natural":
                assert len(kept) == kept_count(16, 0.4)
            shown[place, kept] = True
    assert shard.header.exposed == shown.mean()
    assert shard.is_rectangular or rule == "natural"


def test_an_image_has_the_same_patches_in_every_shard(make_images: Any) -> None:
    images = make_images([(20, 20)] * 6)
    whole = _shard(images, MaskSpec("random", 0.5))
    part = _shard(images, MaskSpec("random", 0.5), np.array([4, 1]))
    for place, row in enumerate((4, 1)):
        for mine, theirs in zip(part.view(0, place), whole.view(0, row), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert part.rows.tolist() == [4, 1]


def test_images_without_a_valid_patch_are_left_out_and_counted(make_images: Any) -> None:
    clouded, clear = np.zeros((20, 20), dtype=np.bool_), np.ones((20, 20), dtype=np.bool_)
    clear[:8] = False
    images = make_images([(20, 20)] * 4, [clouded, None, clear, clouded])
    shard = _shard(images, MaskSpec("natural", 0))
    assert shard.rows.tolist() == [1, 2]
    assert shard.header.left_out == 2
    assert shard.visible(0).tolist() == [16, 8]
    with pytest.raises(InputError, match="made: none of 2 images has a valid patch"):
        _shard(images, MaskSpec("natural", 0), np.array([0, 3]))


def test_more_views_expose_more(make_images: Any) -> None:
    images = make_images([(SIZE, SIZE)] * 50)
    shares = [_shard(images, _mask_spec("random", 0.75, views)).header.exposed for views in (1, 2, 8)]
    assert shares[0] == 0.25
    np.testing.assert_allclose(shares[1:], [1 - 0.75**2, 1 - 0.75**8], atol=0.03)


@pytest.mark.parametrize(("patches", "expected"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65537, "uint32")])
def test_places_are_kept_in_the_smallest_type(patches: int, expected: str) -> None:
    assert index_type(patches).name == expected


def test_an_unreadable_image_is_named(make_images: Any) -> None:
    images = make_images([(8, 8)] * 3)
    broken = replace(images, images=[*images.images[:2], None])
    with pytest.raises(InputError, match="made, image 2"):
        _shard(broken, MaskSpec("random", 0.5))
