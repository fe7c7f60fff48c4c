"""Formats of few bits: errors within half a step, the same again when encoded again, and PyTorch's own bfloat16."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_sparse.codec.quantization import (
    UPDATE_FORMATS,
    decode,
    encode,
    from_bfloat16,
    from_int8,
    layout,
    to_bfloat16,
    to_int8,
)

FINITE = st.floats(-(2.0**99), 2.0**99, width=32)
MATRICES = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=FINITE)
VECTORS = arrays(np.float32, st.integers(1, 9), elements=FINITE)
ANY_BITS = arrays(np.uint32, st.integers(1, 50), elements=st.integers(0, 2**32 - 1))


@settings(max_examples=200, deadline=None)
@given(bits=ANY_BITS)
@example(bits=np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0xFFFFFFFF, 0x7F800001, 0x80000001], np.uint32))
def test_bfloat16_is_torchs(bits: np.ndarray) -> None:
    values = bits.view(np.float32)
    theirs = torch.from_numpy(values.copy()).to(torch.bfloat16)
    ours = to_bfloat16(values)
    known = ~np.isnan(values)
    np.testing.assert_array_equal(ours[known], theirs.view(torch.uint16).numpy()[known])
    np.testing.assert_array_equal(from_bfloat16(ours), theirs.float().numpy())  # NaN where theirs is NaN


@settings(max_examples=100, deadline=None)
@given(values=MATRICES | VECTORS)
def test_int8_errs_by_half_a_step_of_its_row_at_most(values: np.ndarray) -> None:
    codes, scales = to_int8(values)
    rows = values.reshape(len(scales), -1)
    assert scales.shape == (len(values) if values.ndim == 2 else 1,)
    assert (codes.dtype, scales.dtype, codes.shape) == (np.int8, np.float32, values.shape)
    exact = np.abs(rows.astype(np.float64)).max(axis=1) / 127
    coded = scales > 0
    np.testing.assert_allclose(scales[coded], exact[coded], rtol=1e-6)
    assert (exact[~coded] < 1.2e-38).all()
    errors = np.abs(from_int8(codes, scales).astype(np.float64) - values).reshape(rows.shape)
    # Half a step, and the float32 roundings of the quotient and of the product.
    assert (errors <= (0.5 + 1e-4) * exact[:, None] + 127 * 1.2e-38 * ~coded[:, None]).all()


@settings(max_examples=100, deadline=None)
@given(values=MATRICES | VECTORS)
def test_what_was_decoded_encodes_to_the_same(values: np.ndarray) -> None:
    codes, scales = to_int8(values)
    again, rescaled = to_int8(from_int8(codes, scales))
    np.testing.assert_array_equal(again, codes)
    np.testing.assert_allclose(rescaled, scales, rtol=2**-22)
    bits = to_bfloat16(values)
    np.testing.assert_array_equal(to_bfloat16(from_bfloat16(bits)), bits)


@pytest.mark.parametrize("update_format", UPDATE_FORMATS)
def test_zeros_stay_zeros_exactly(update_format: str) -> None:
    values = {"w": np.array([[0, 0, 0], [0, -3, 1]], np.float32), "b": np.zeros(4, np.float32)}
    decoded = decode(encode(values, update_format), update_format)
    for name in values:
        np.testing.assert_array_equal(decoded[name] == 0, values[name] == 0)
    if update_format == "int8":
        assert encode(values, "int8")["w.scale"][0] == encode(values, "int8")["b.scale"][0] == 0.0


@pytest.mark.parametrize("update_format", UPDATE_FORMATS)
def test_the_layout_is_that_of_what_is_encoded(update_format: str) -> None:
    values = {"w": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)}
    encoded = encode(values, update_format)
    expected = layout({name: array.shape for name, array in values.items()}, update_format)
    assert {name: (array.dtype, array.shape) for name, array in encoded.items()} == dict(expected)


@pytest.mark.parametrize("update_format", ["bfloat16", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_hidden(update_format: str, value: float) -> None:
    encoded = encode({"w": np.array([[1, value], [2, 1]], np.float32)}, update_format)
    if update_format == "int8":
        np.testing.assert_array_equal(np.isfinite(encoded["w.scale"]), [False, True])
        with pytest.raises(ValueError, match=r"w\.scale holds values that are negative or not finite"):
            decode(encoded, "int8")
    else:
        assert not np.isfinite(decode(encoded, "bfloat16")["w"][0, 1])
