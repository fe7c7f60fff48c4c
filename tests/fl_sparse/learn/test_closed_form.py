"""Summed Gram matrices give what all data together give, for any split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from fl_sparse.learn.closed_form import PENALTIES, accuracy, add, class_means, gram_of, nearest_mean, ridge

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(90, 7)).astype(np.float32) + RNG.normal(size=7).astype(np.float32)
LABELS = RNG.integers(0, 4, size=90)


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_ridge_is_scikit_learns(penalty: float) -> None:
    weight, bias = ridge(gram_of(FEATURES, LABELS, 4), penalty)
    expected = Ridge(alpha=penalty).fit(FEATURES.astype(np.float64), np.eye(4)[LABELS])
    np.testing.assert_allclose(weight, expected.coef_, atol=1e-9)
    np.testing.assert_allclose(bias, expected.intercept_, atol=1e-9)


@settings(max_examples=25)
@given(owners=st.lists(st.integers(0, 5), min_size=90, max_size=90))
def test_any_split_gives_the_central_solution(owners: list[int]) -> None:
    owner = np.array(owners)
    parts = [gram_of(FEATURES[owner == k], LABELS[owner == k], 4) for k in range(6)]
    central, summed = ridge(gram_of(FEATURES, LABELS, 4), 1.0), ridge(add(parts), 1.0)
    for one, other in zip(central, summed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_class_means_are_the_centroids() -> None:
    expected = NearestCentroid().fit(FEATURES.astype(np.float64), LABELS)
    np.testing.assert_allclose(class_means(gram_of(FEATURES, LABELS, 4)), expected.centroids_, atol=1e-9)


def test_an_absent_class_has_mean_zero() -> None:
    means = class_means(gram_of(FEATURES, np.zeros(90, np.int64), 2))
    np.testing.assert_array_equal(means[1], np.zeros(7))


def test_a_class_that_nobody_holds_is_never_predicted() -> None:
    # Examples near the mean of all: that of a class made up at 0 would be the nearest.
    held = np.where(LABELS == 2, 3, LABELS)
    features = FEATURES - FEATURES.mean(axis=0)
    for class_sums in (True, False):
        gram = gram_of(features, held, 4, class_sums=class_sums)
        weight, bias = nearest_mean(gram)
        assert np.isfinite(bias.astype(np.float32)).all()
        near = np.concatenate([0.01 * features, features, 100 * features])
        nearest = NearestCentroid().fit(features.astype(np.float64), held).predict(near)
        np.testing.assert_array_equal((near @ weight.T + bias).argmax(axis=1), nearest)
        assert accuracy(weight, bias, features, np.full(90, 2)) == 0
    for penalty in PENALTIES:
        weight, bias = ridge(gram, penalty)
        scores = near @ weight.T + bias
        np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)
        assert (scores.argmax(axis=1) != 2).all()
