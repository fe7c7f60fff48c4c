"""Summed Gram matrices give what all data together give, for any split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from fl_sparse.closed_form import add, class_means, gram_of, ridge

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
