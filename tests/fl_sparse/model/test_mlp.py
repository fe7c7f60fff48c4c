"""The MLP's names, shapes and initial law."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.model.parameters import shapes_of


def test_initial_parameters_follow_torch_linear_law_and_the_seed() -> None:
    spec = MLPSpec(400, (300,), 10, normalization="layer")
    one, same, other = init_parameters(spec, 0), init_parameters(spec, 0), init_parameters(spec, 1)
    linear = torch.nn.Linear(400, 300)
    for name in ("weight", "bias"):
        values = one[f"hidden.0.{name}"]
        assert values.dtype == np.float32
        assert np.abs(values).max() <= 1 / np.sqrt(400)
        assert values.std() == pytest.approx(getattr(linear, name).std().item(), rel=0.1)
    assert {name: values.shape for name, values in one.items()} == shapes_of(spec.model)
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
    spec = MLPSpec(6, tuple(widths), 3, "gelu", normalization, skip)
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
