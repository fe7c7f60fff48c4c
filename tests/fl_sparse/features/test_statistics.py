"""FeatureStatistics merged from parts are those of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.features import FeatureStatistics, Standardizer, merge, statistics_of
from fl_sparse.features.statistics import VARIANCE_FLOOR


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    shift=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_merged_moments_are_exact(sizes: list[int], shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [(rng.normal(size=(size, 3)) + shift).astype(np.float32) for size in [*sizes, 1]]
    merged, whole = merge([statistics_of(part) for part in parts]), np.concatenate(parts).astype(np.float64)
    assert merged.n == len(whole)
    np.testing.assert_allclose(merged.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged.m2, whole.var(axis=0) * len(whole), rtol=1e-9, atol=1e-9)


def test_moments_of_many_rows_are_taken_in_blocks() -> None:
    x = np.random.default_rng(0).normal(3, 2, size=(10_001, 2)).astype(np.float32)
    statistics = statistics_of(x)
    np.testing.assert_allclose(statistics.mean, x.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(statistics.m2 / statistics.n, x.astype(np.float64).var(axis=0), rtol=1e-12)


def test_nothing_has_no_statistics() -> None:
    with pytest.raises(ValueError, match="no rows"):
        merge([statistics_of(np.empty((0, 3), dtype=np.float32))])


def test_standardised_features_have_mean_zero_and_variance_one_and_constants_stay_finite() -> None:
    x = np.random.default_rng(0).normal(5, 3, size=(500, 4)).astype(np.float32)
    x[:, 3] = 7
    standardised = Standardizer.of(statistics_of(x))(x)
    assert standardised.dtype == np.float32
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised[:, :3].std(axis=0), 1, rtol=1e-5)
    assert (standardised[:, 3] == 0).all()
    floor = Standardizer.of(FeatureStatistics(10, np.zeros(1), np.zeros(1)))
    np.testing.assert_allclose(floor.inverse_std, 1 / np.sqrt(VARIANCE_FLOOR), rtol=1e-6)
