"""What is particular to each format: int8's steps and scales, and bfloat16 as PyTorch has it."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_sparse.codec import CODECS
from fl_sparse.codec.dense import from_bfloat16, to_bfloat16
from fl_sparse.codec.quantized import from_int8, to_int8

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


def test_a_row_of_zeros_has_scale_zero() -> None:
    values = {"w": np.array([[0, 0, 0], [0, -3, 1]], np.float32), "b": np.zeros(4, np.float32)}
    encoded = CODECS["int8"].encode(values)
    assert encoded["w.scale"][0] == encoded["b.scale"][0] == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_int8_spoils_the_row_of_what_is_not_finite_and_no_other(value: float) -> None:
    encoded = CODECS["int8"].encode({"w": np.array([[1, value], [2, 1]], np.float32)})
    np.testing.assert_array_equal(np.isfinite(encoded["w.scale"]), [False, True])
    with pytest.raises(ValueError, match=r"w\.scale holds values that are negative or not finite"):
        CODECS["int8"].decode(encoded)
