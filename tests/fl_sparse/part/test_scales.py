"""What the scale rules keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.model.mlp import MLPSpec, init_parameters, predict
from fl_sparse.part import SubnetAssignment, extract, subnet_scales


def partition(rng: np.random.Generator, width: int, sizes: list[int]) -> list[np.ndarray]:
    return [np.sort(part) for part in np.split(rng.permutation(width), np.cumsum(sizes)[:-1])]


def output_of_parts(sizes: list[int], rule: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the whole and of each part of one hidden layer: the output sees the same hidden values in both."""
    rng, width = np.random.default_rng(seed), sum(sizes)
    spec = MLPSpec(3, (width,), 4)
    parameters, x = init_parameters(spec, seed), rng.normal(size=(5, 3)).astype(np.float32)
    parts = []
    for units in partition(rng, width, sizes):
        subnet = SubnetAssignment((units,))
        part = MLPSpec(3, (len(units),), 4)
        parts.append(predict(extract(parameters, subnet), part, x, subnet_scales(subnet, (width,), rule)))
    return predict(parameters, spec, x), np.stack(parts)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_mean_keeps_the_average_over_parts_weighed_by_their_share(sizes: list[int], seed: int) -> None:
    whole, parts = output_of_parts(sizes, "mean", seed)
    shares = np.array(sizes) / sum(sizes)
    np.testing.assert_allclose(np.tensordot(shares, parts, axes=1), whole, rtol=1e-4, atol=1e-5)


@given(size=st.integers(1, 9), count=st.integers(1, 5), seed=st.integers(0, 999))
def test_mean_keeps_the_plain_average_over_equal_parts(size: int, count: int, seed: int) -> None:
    whole, parts = output_of_parts([size] * count, "mean", seed)
    np.testing.assert_allclose(parts.mean(axis=0), whole, rtol=1e-4, atol=1e-5)


def test_the_plain_average_over_unequal_parts_is_another() -> None:
    whole, parts = output_of_parts([1, 9], "mean", 0)
    assert np.abs(parts.mean(axis=0) - whole).max() > 0.01


def test_sqrt_keeps_the_variance_of_a_sum_of_independent_terms() -> None:
    rng, width, size = np.random.default_rng(0), 64, 16
    subnet = SubnetAssignment((np.arange(size),))
    factor = subnet_scales(subnet, (width,), "sqrt")[1]
    terms = rng.normal(size=(100_000, width))
    np.testing.assert_allclose((factor * terms[:, :size].sum(axis=1)).var(), terms.sum(axis=1).var(), rtol=0.02)


def test_values() -> None:
    subnet = SubnetAssignment((np.array([0, 3]), np.array([1])))
    assert subnet_scales(subnet, (8, 4), "mean") == (1.0, 4.0, 4.0)
    assert subnet_scales(subnet, (8, 4), "sqrt") == (1.0, 2.0, 2.0)
    assert subnet_scales(subnet, (8, 4), "none") == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="unknown scale 'meen'; did you mean 'mean'"):
        subnet_scales(subnet, (8, 4), "meen")


@pytest.mark.parametrize("units", [[], [2, 1], [1, 1], [-1, 2], [[1]]])
def test_an_assignment_is_of_distinct_sorted_units(units: list) -> None:
    with pytest.raises(ValueError, match="hidden layer 1 must be distinct, sorted and at least one"):
        SubnetAssignment((np.array([0]), np.array(units, dtype=np.int64)))
