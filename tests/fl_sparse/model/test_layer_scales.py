"""What the scale rules keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.learn.mlp_stack.predict import predict
from fl_sparse.model.mlp import MLPSpec, init_parameters, layer_scales
from fl_sparse.part import Part


def partition(rng: np.random.Generator, width: int, sizes: list[int]) -> list[np.ndarray]:
    return [np.sort(part) for part in np.split(rng.permutation(width), np.cumsum(sizes)[:-1])]


def output_of_parts(sizes: list[int], rule: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the whole and of each part of one hidden layer: the output sees the same hidden values in both."""
    rng, width = np.random.default_rng(seed), sum(sizes)
    spec = MLPSpec(3, (width,), 4)
    parameters, x = init_parameters(spec, seed), rng.normal(size=(5, 3)).astype(np.float32)
    parts = []
    for units in partition(rng, width, sizes):
        held = Part({"hidden.0": units}).cut(spec.model, parameters)
        part = MLPSpec(3, (len(units),), 4)
        parts.append(predict(held, part, x, layer_scales((len(units),), (width,), rule)))
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
    factor = layer_scales((size,), (width,), "sqrt")[1]
    terms = rng.normal(size=(100_000, width))
    np.testing.assert_allclose((factor * terms[:, :size].sum(axis=1)).var(), terms.sum(axis=1).var(), rtol=0.02)


def test_values() -> None:
    assert layer_scales((2, 1), (8, 4), "mean") == (1.0, 4.0, 4.0)
    assert layer_scales((2, 1), (8, 4), "sqrt") == (1.0, 2.0, 2.0)
    assert layer_scales((2, 1), (8, 4), "none") == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="unknown scale 'meen'; did you mean 'mean'"):
        layer_scales((2, 1), (8, 4), "meen")
