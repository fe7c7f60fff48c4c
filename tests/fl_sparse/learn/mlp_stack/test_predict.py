"""Logits of one MLP, by the formula, in NumPy and torch."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.learn.mlp_stack.predict import predict
from fl_sparse.model.mlp import MLPSpec, init_parameters
from tests import reference


@settings(deadline=None, max_examples=40)
@given(
    widths=st.lists(st.integers(1, 9), max_size=3),
    activation=st.sampled_from(["relu", "gelu"]),
    normalization=st.sampled_from(["none", "layer"]),
    skip=st.booleans(),
    scaled=st.booleans(),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_predicts_the_formula_in_numpy_and_torch(
    widths: list[int], activation: str, normalization: str, skip: bool, scaled: bool, batch_size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    spec = MLPSpec(6, tuple(widths), 3, activation, normalization, skip)
    parameters = init_parameters(spec, seed)
    if skip:
        parameters["skip.weight"] = rng.normal(size=(3, 6)).astype(np.float32)
        parameters["skip.bias"] = rng.normal(size=3).astype(np.float32)
    x = rng.normal(size=(7, 6)).astype(np.float32)
    scales = tuple(rng.uniform(0.5, 3, len(widths) + 1)) if scaled else None
    tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in parameters.items()}
    expected = reference.logits(tensors, torch.tensor(x, dtype=torch.float64), scales or [1.0] * 9, spec).numpy()
    found = predict(parameters, spec, x, scales, batch_size=batch_size)
    # LayerNorm over one or two units divides differences by their own size.
    np.testing.assert_allclose(found, expected, rtol=2e-3 if normalization == "layer" else 1e-4, atol=1e-4)
    held = {name: torch.tensor(values) for name, values in parameters.items()}
    also = predict(held, spec, torch.tensor(x), scales, batch_size=batch_size)
    assert isinstance(found, np.ndarray)
    assert isinstance(also, torch.Tensor)
    np.testing.assert_allclose(found, also.numpy(), rtol=2e-3 if normalization == "layer" else 1e-5, atol=1e-4)


def test_predicting_nothing_gives_nothing() -> None:
    spec = MLPSpec(6, (4,), 3)
    assert predict(init_parameters(spec, 0), spec, np.empty((0, 6), dtype=np.float32)).shape == (0, 3)
