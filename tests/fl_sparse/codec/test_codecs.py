"""What every codec keeps: its layout, its stated error, zeros, and that what is not finite shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fl_sparse.codec import CODECS

FINITE = st.floats(-(2.0**99), 2.0**99, width=32)
PARAMETERS = st.dictionaries(
    st.sampled_from(["output.weight", "output.bias", "a", "scale"]),
    array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5).flatmap(
        lambda shape: arrays(np.float32, shape, elements=FINITE)
    ),
    max_size=3,
)
NORMAL = np.finfo(np.float32).tiny


def none(values: np.ndarray) -> np.ndarray:
    return np.zeros_like(values, dtype=np.float64)


def half_a_bit_of_eight(values: np.ndarray) -> np.ndarray:
    """Half a unit in the last of eight binary digits, at most 2⁻⁸ of a normal value, or of the smallest normal one."""
    return 2.0**-8 * np.maximum(np.abs(values.astype(np.float64)), NORMAL)


def half_a_step_of_the_row(values: np.ndarray) -> np.ndarray:
    """Half of a 127th of the row's largest, and float32's roundings; a row below the smallest scale becomes zero."""
    rows = np.abs(values.astype(np.float64)).reshape(values.shape[0] if values.ndim > 1 else 1, -1)
    step = rows.max(axis=1, keepdims=True) / 127
    bound = np.where(step > 1.001 * NORMAL, (0.5 + 1e-4) * step, 127 * step)
    return np.broadcast_to(bound, rows.shape).reshape(values.shape)


ERRORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float32": none,
    "bfloat16": half_a_bit_of_eight,
    "int8": half_a_step_of_the_row,
}
REFUSE = {"int8"}
"""Codecs that refuse to decode what is not finite."""


def test_every_codec_states_its_error_here() -> None:
    assert ERRORS.keys() == CODECS.keys()


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=60, deadline=None)
@given(values=PARAMETERS)
def test_what_is_encoded_has_the_layout_and_decodes_within_the_error(name: str, values: dict[str, np.ndarray]) -> None:
    codec = CODECS[name]
    before = {key: array.tobytes() for key, array in values.items()}
    encoded = codec.encode(values)
    layout = codec.layout({key: array.shape for key, array in values.items()})
    assert {key: (array.dtype, array.shape) for key, array in encoded.items()} == dict(layout)
    decoded = codec.decode(encoded)
    assert decoded.keys() == values.keys()
    for key, array in values.items():
        assert (decoded[key].dtype, decoded[key].shape) == (np.float32, array.shape)
        assert array.tobytes() == before[key]
        assert (np.abs(decoded[key].astype(np.float64) - array) <= ERRORS[name](array)).all()
        if codec.exact:
            assert decoded[key].tobytes() == array.tobytes()


@pytest.mark.parametrize("name", CODECS)
def test_only_an_exact_codec_loses_nothing(name: str) -> None:
    values = {"w": np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)}
    decoded = CODECS[name].decode(CODECS[name].encode(values))
    assert CODECS[name].exact == (decoded["w"].tobytes() == values["w"].tobytes())


@pytest.mark.parametrize("name", CODECS)
def test_zeros_stay_zeros_exactly(name: str) -> None:
    values = {"w": np.array([[0, 0, 0], [0, -3, 1]], np.float32), "b": np.zeros(4, np.float32)}
    decoded = CODECS[name].decode(CODECS[name].encode(values))
    for key, array in values.items():
        np.testing.assert_array_equal(decoded[key] == 0, array == 0)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 3)])
def test_what_is_not_finite_is_not_hidden(name: str, value: float, shape: tuple[int, ...]) -> None:
    """A value that is not finite decodes to one that is not, unless decoding refuses the arrays."""
    codec, values = CODECS[name], {"w": np.ones(shape, np.float32), "b": np.ones(2, np.float32)}
    values["w"].reshape(-1)[1] = value
    encoded = codec.encode(values)
    layout = codec.layout({key: array.shape for key, array in values.items()})
    assert {key: (array.dtype, array.shape) for key, array in encoded.items()} == dict(layout)
    if name in REFUSE:
        with pytest.raises(ValueError, match=r"w\.scale holds values that are negative or not finite"):
            codec.decode(encoded)
    else:
        decoded = codec.decode(encoded)
        assert not np.isfinite(decoded["w"].reshape(-1)[1])
        np.testing.assert_array_equal(decoded["b"], values["b"])
