"""Masks of many images: what they depend on, and what they do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_sparse.errors import InputError
from fl_sparse.masks.draw import Split, cycled_owners, draw_masks
from fl_sparse.masks.spec import RULES, MaskSpec, kept_count

GRID = (6, 6)


def _masks(
    spec: MaskSpec, indices: NDArray[np.int64], data_seed: int = 3, split: Split = "train", view: int = 0
) -> NDArray[np.bool_]:
    validity = np.random.default_rng(0).random((200, 36)) < 0.7
    return draw_masks(
        spec,
        GRID,
        data_seed=data_seed,
        split=split,
        image_indices=indices,
        owners=indices // 7,
        view=view,
        validity=validity[indices],
    )


@pytest.mark.parametrize("rule", sorted(RULES))
@given(st.lists(st.integers(0, 199), max_size=20), st.floats(0, 0.95))
@settings(max_examples=25)
def test_a_mask_depends_on_its_image_alone(rule: str, indices: list[int], ratio: float) -> None:
    """Any order and any subset of the images gives the same masks."""
    spec = MaskSpec(rule, ratio)
    whole = _masks(spec, np.arange(200))
    some = _masks(spec, np.array(indices, dtype=np.int64))
    assert some.shape == (len(indices), 36)
    np.testing.assert_array_equal(some, whole[indices])


@pytest.mark.parametrize("rule", ["random", "block", "grid", "cloud", "natural"])
def test_seed_split_view_and_image_each_change_the_masks(rule: str) -> None:
    spec = MaskSpec(rule, 0.6, "resampled", 2)
    images = np.arange(50)
    base = _masks(spec, images)
    others = [
        _masks(spec, images, data_seed=4),
        _masks(spec, images, split="test"),
        _masks(spec, images, view=1),
    ]
    for other in others:
        assert (other != base).any(axis=1).mean() > 0.5
    if rule != "natural":  # there the images differ in what is valid
        assert len(np.unique(base, axis=0)) > 10


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"natural"}))
def test_ratio_zero_keeps_everything(rule: str) -> None:
    assert _masks(MaskSpec(rule, 0), np.arange(9)).all()


def test_clients_share_a_mask_each_or_all_one() -> None:
    images = np.arange(28)
    mine = _masks(MaskSpec("shared", 0.5), images)
    assert len(np.unique(mine, axis=0)) == 4
    for client in range(4):
        assert len(np.unique(mine[images // 7 == client], axis=0)) == 1
    everyone = MaskSpec("shared", 0.5, shared_by="all")
    assert len(np.unique(_masks(everyone, images), axis=0)) == 1
    np.testing.assert_array_equal(_masks(everyone, images), _masks(everyone, images, split="test"))


def test_test_images_take_turns_with_the_masks_of_clients() -> None:
    spec = MaskSpec("shared", 0.5)
    of_clients = draw_masks(
        spec, GRID, data_seed=0, split="train", image_indices=np.arange(3), owners=np.array([0, 1, 2])
    )
    test_images = np.array([0, 1, 2, 3, 4, 30])
    seen = draw_masks(
        spec, GRID, data_seed=0, split="test", image_indices=test_images, owners=cycled_owners(test_images, 3)
    )
    np.testing.assert_array_equal(seen, of_clients[[0, 1, 2, 0, 1, 0]])


def test_natural_removes_its_share_of_the_valid_patches() -> None:
    validity = np.zeros((3, 36), dtype=np.bool_)
    validity[0, :10] = validity[1, 5] = True
    spec = MaskSpec("natural", 0.5)
    kept = draw_masks(spec, GRID, data_seed=0, split="train", image_indices=np.arange(3), validity=validity)
    assert kept.sum(axis=1).tolist() == [kept_count(10, 0.5), 1, 0]
    assert not (kept & ~validity).any()


@pytest.mark.parametrize(
    ("spec", "view", "message"),
    [
        (MaskSpec("natural", 0), 0, "validity"),
        (MaskSpec("shared", 0.5), 0, "client of every image"),
        (MaskSpec("random", 0.5), 1, "mask view 1"),
    ],
)
def test_what_is_missing_is_said(spec: MaskSpec, view: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_masks(spec, GRID, data_seed=0, split="train", image_indices=np.arange(2), view=view)


# What `_bits` gave when the rules were first written.
GOLDEN = {
    "block": ["f119", "988f"],
    "cloud": ["cc72", "1337"],
    "grid": ["a5a5", "a5a5"],
    "natural": ["5a35", "3596"],
    "random": ["5a35", "3596"],
    "shared": ["b689", "e685"],
}


def _bits(rule: str) -> list[str]:
    """Return the masks of images 0 and 1 of a 4×4 grid at half, as hexadecimal digits, one a row of patches."""
    images = np.arange(2)
    kept = draw_masks(
        MaskSpec(rule, 0.5),
        (4, 4),
        data_seed=0,
        split="train",
        image_indices=images,
        owners=images,
        validity=np.ones((2, 16), dtype=np.bool_),
    )
    return [np.packbits(mask).tobytes().hex() for mask in kept]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_masks_are_the_same_on_every_machine_and_in_every_version(rule: str) -> None:
    """They are part of the results: whoever has the seed can draw them again."""
    assert _bits(rule) == GOLDEN[rule]
