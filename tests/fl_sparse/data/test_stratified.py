import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.data.stratified import stratified_split, training_subset, validation_split
from fl_sparse.errors import InputError

COUNTS = st.lists(st.integers(2, 40), min_size=1, max_size=8)


def shuffled(counts, seed):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


@settings(max_examples=50, deadline=None)
@given(counts=COUNTS, share=st.floats(0.05, 0.9), seed=st.integers(0, 99))
def test_disjoint_covering_and_in_proportion(counts, share, seed):
    labels = shuffled(counts, seed)
    held_out = max(1, round(share * len(labels)))
    rest, held = stratified_split(labels, held_out, np.random.default_rng(seed))
    assert sorted([*rest, *held]) == list(range(len(labels)))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(held) > 0).all()
    taken = np.bincount(labels[held], minlength=len(counts))
    quotas = np.array(counts) * held_out / len(labels)
    assert (np.abs(taken - quotas) <= 1 + 1e-9).all()
    assert (taken < counts).all()
    assert len(held) <= held_out
    if (np.ceil(quotas) < counts).all():
        assert len(held) == held_out


def test_validation_share_and_seed():
    labels = shuffled([100, 50, 50], 0)
    train, validation = validation_split(labels, data_seed=3)
    assert np.bincount(labels[validation]).tolist() == [10, 5, 5]
    assert (validation_split(labels, data_seed=3)[0] == train).all()
    assert not np.array_equal(validation_split(labels, data_seed=4)[1], validation)


def test_too_few_images():
    with pytest.raises(InputError, match="cannot hold out 1 of 3 images in 3 classes"):
        validation_split(np.arange(3), data_seed=0)
    with pytest.raises(InputError, match=r"share 1\.5: expected"):
        validation_split(np.arange(3), data_seed=0, share=1.5)


@settings(max_examples=30, deadline=None)
@given(counts=COUNTS, share=st.floats(0.3, 0.9), seed=st.integers(0, 99))
def test_a_training_subset_keeps_the_classes_shares(counts, share, seed):
    labels = shuffled(counts, seed)
    size = max(1, round(share * len(labels)))
    rows = training_subset(labels, size, data_seed=seed)
    assert (np.diff(rows) > 0).all()
    assert len(rows) <= size
    taken = np.bincount(labels[rows], minlength=len(counts))
    assert (np.abs(taken - np.array(counts) * size / len(labels)) <= 1 + 1e-9).all()
    assert (training_subset(labels, size, data_seed=seed) == rows).all()


@pytest.mark.parametrize("size", [0, 200])
def test_all_training_images_are_used_unless_asked_otherwise(size):
    assert training_subset(shuffled([100, 50, 50], 0), size, data_seed=1).tolist() == list(range(200))


def test_more_training_images_than_there_are():
    with pytest.raises(InputError, match=r"train-images = 201, but there are 200 training images"):
        training_subset(shuffled([100, 50, 50], 0), 201, data_seed=0)
