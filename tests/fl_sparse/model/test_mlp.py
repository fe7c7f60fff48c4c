"""The MLP's names, shapes, initial law and pass forward."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.model.mlp import MLPSpec, init_parameters, parameter_shapes, predict
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
    spec = MLPSpec(6, tuple(widths), 3, activation, normalization)
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


def test_initial_parameters_follow_torch_linear_law_and_the_seed() -> None:
    spec = MLPSpec(400, (300,), 10, normalization="layer")
    one, same, other = init_parameters(spec, 0), init_parameters(spec, 0), init_parameters(spec, 1)
    linear = torch.nn.Linear(400, 300)
    for name in ("weight", "bias"):
        values = one[f"hidden.0.{name}"]
        assert values.dtype == np.float32
        assert np.abs(values).max() <= 1 / np.sqrt(400)
        assert values.std() == pytest.approx(getattr(linear, name).std().item(), rel=0.1)
    assert {name: values.shape for name, values in one.items()} == parameter_shapes(spec)
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["hidden.0.weight"], other["hidden.0.weight"])
    assert (one["hidden.0.norm.weight"] == 1).all()
    assert (one["hidden.0.norm.bias"] == 0).all()


@given(
    widths=st.lists(st.integers(1, 9), max_size=3),
    normalization=st.sampled_from(["none", "layer"]),
    skip=st.booleans(),
)
def test_sizes_are_read_off_the_parameters(widths: list[int], normalization: str, skip: bool) -> None:
    spec = MLPSpec(6, tuple(widths), 3, "gelu", normalization)
    parameters = init_parameters(spec, 0)
    if skip:
        parameters |= {"skip.weight": np.zeros((3, 6), np.float32), "skip.bias": np.zeros(3, np.float32)}
    assert MLPSpec.of_parameters(parameters, activation="gelu", normalization=normalization) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output.weight": None}, "lack matrix 'output.weight'"),
        ({"hidden.1.weight": None}, "lack matrix 'hidden.1.weight'"),
        ({"hidden.0.bias": None}, "shape|lack|unexpected"),
        ({"output.bias": None}, "lack tensor 'output.bias'"),
        ({"output.bias": (4,)}, r"'output.bias' of the MLP has shape \(4,\); expected \(3,\)"),
        ({"hidden.1.weight": (5, 5)}, r"'hidden.1.weight' of the MLP has shape \(5, 5\); expected \(5, 4\)"),
        ({"skip.weight": (3, 6)}, "lack tensor 'skip.bias'"),
        ({"hidden.0.norm.weight": (4,)}, "unexpected tensor 'hidden.0.norm.weight'"),
        ({"extra": (4,)}, "unexpected tensor 'extra'"),
    ],
)
def test_parameters_that_make_no_mlp_are_refused(change: dict, message: str) -> None:
    parameters = init_parameters(MLPSpec(6, (4, 5), 3), 0)
    for name, shape in change.items():
        if shape is None:
            del parameters[name]
        else:
            parameters[name] = np.zeros(shape, dtype=np.float32)
    with pytest.raises(InputError, match=message):
        MLPSpec.of_parameters(parameters)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_widths": (0,)}, "each must be at least 1"),
        ({"activation": "rulu"}, "unknown activation 'rulu'; did you mean 'relu'"),
        ({"normalization": "batch"}, "unknown normalization 'batch'; expected one of: layer, none"),
    ],
)
def test_specifications_that_make_no_mlp_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MLPSpec(**{"in_features": 3, "hidden_widths": (4,), "num_classes": 2, **changes})
