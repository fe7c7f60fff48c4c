"""Folds are disjoint, cover everything, and are stratified."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.data.folds import fold_of_labels, held_out_fold
from fl_sparse.data.sources import load_images
from fl_sparse.errors import InputError


@given(labels=st.lists(st.integers(0, 4), min_size=5, max_size=80), folds=st.integers(2, 5), seed=st.integers(0, 3))
def test_folds_are_even_in_all_and_in_each_class(labels: list[int], folds: int, seed: int) -> None:
    values = np.array(labels)
    fold = fold_of_labels(values, folds, data_seed=seed)
    assert set(fold) == set(range(folds))
    for group in (np.ones(len(values), bool), *(values == label for label in set(labels))):
        sizes = np.bincount(fold[group], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(fold, fold_of_labels(values, folds, data_seed=seed))


def test_every_image_is_tested_once() -> None:
    train, test = load_images("digits", "", data_seed=0)
    seen = []
    for fold in range(5):
        kept, held = held_out_fold(train, test, folds=5, fold=fold, data_seed=1)
        assert len(kept) + len(held) == len(train) + len(test)
        assert kept.fingerprint != held.fingerprint
        seen += [held.pixels(index).tobytes() for index in range(len(held))]
        for index in (0, len(kept) - 1):
            source = kept.rows[index]
            original = train.pixels(source) if source < len(train) else test.pixels(source - len(train))
            np.testing.assert_array_equal(kept.pixels(index), original)
    whole = [images.pixels(index).tobytes() for images in (train, test) for index in range(len(images))]
    assert sorted(seen) == sorted(whole)


def test_more_folds_than_images_are_refused() -> None:
    train, test = load_images("digits", "", data_seed=0)
    with pytest.raises(InputError, match="folds = 5000"):
        held_out_fold(train, test, folds=5000, fold=0, data_seed=0)
